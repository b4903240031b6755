"""The messages under tests/torture/data and what their indexes say about them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Sample:
    """One message. `acceptable` is the index's own wording of what an exchange may answer; empty for captures."""

    name: str
    raw: bytes
    kind: str
    method_or_code: str
    valid: bool
    acceptable: str

    def __str__(self) -> str:
        return self.name

    def outcomes(self) -> set[str]:
        """What reading may come to: "read", "drop" or a status, as the index allows.

        Anything that the layers above answer (2xx, 401, 404, 420, 501 ...) means for the parser that it must read.
        """
        text = re.sub(r"never 400|!400", "", self.acceptable)
        codes = set(re.findall(r"\b[2-6](?:\d\d|xx)\b", text))
        allowed = codes & {"400", "416", "505", "513"}
        if codes - allowed or "liberal" in text or ("drop" in text and self.valid):
            allowed.add("read")
        if "drop" in text:
            allowed.add("drop")
        return allowed


def load(folder: str) -> list[Sample]:
    with (DATA / folder / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Sample(
            name=f"{folder}/{row['file']}",
            raw=(DATA / folder / row["file"]).read_bytes(),
            kind=row.get("kind", "request"),
            method_or_code=row.get("method_or_code") or row.get("method", ""),
            valid=row.get("class", "valid") in ("valid", "application", "transaction", "backward"),
            acceptable=row.get("pbx_acceptable", "read"),
        )
        for row in rows
    ]


RFC4475 = load("rfc4475")
RFC5118 = load("rfc5118")
DEVICES = load("devices")
EVERYTHING = [*RFC4475, *RFC5118, *DEVICES]


def named(name: str) -> Sample:
    """The sample whose file name begins with `name`."""
    return next(sample for sample in EVERYTHING if sample.name.rpartition("/")[2].startswith(f"{name}."))
