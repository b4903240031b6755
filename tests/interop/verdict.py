"""What the torture corpus allows (column pbx_acceptable of its INDEX.tsv), as something that answers can be held to.

The column is written for people: `404|401|2xx never 400`, `400 (or liberal accept: 200|404|401)`, `udp 400; tcp close
after timeout`, `drop (nothing sent)`. Read here: status codes and classes, `drop`, `liberal`, `!400` and `never 400`,
what a stream comes to, and the notes that can be seen in an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.interop.wire import Answer
from tests.torture.corpus import Sample

LIBERAL = frozenset({"2xx", "401", "403", "404", "407", "481"})     # what a request gets that was taken for a good one
_never = re.compile(r"never 400|!400")
_stream = re.compile(r"tcp close( after timeout)?")
_address = re.compile(r"\d+\.\d+\.\d+\.\d+")
_code = re.compile(r"\b[2-6](?:\d\d|xx)\b")
_length = re.compile(rb"^(?:content-length|l)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_vias = re.compile(r"^(?:Via|v)[ \t]*:[ \t]*(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """`codes` may come back, or nothing at all when `drop`. Of a stream, `closes` says that it ends at once, `stalls`
    that the message never gets complete and the stream ends after its time."""

    codes: frozenset[str]
    drop: bool
    closes: bool = False
    stalls: bool = False
    unsupported: bool = False
    once: bool = False
    same_vias: bool = False

    @classmethod
    def of(cls, sample: Sample, transport: str) -> Verdict:
        text = sample.acceptable
        stream = transport == "tcp"
        close = _stream.search(text)
        codes = set(_code.findall(_address.sub("", _stream.sub("", _never.sub("", text)))))
        if "liberal" in text:
            codes |= LIBERAL
        closes = stalls = False
        if stream:
            head = sample.raw.replace(b"\r\n", b"\n").partition(b"\n\n")
            stalls = bool(close and close[1]) or not head[1]
            closes = bool(close) and not stalls
            if head[2] and not _length.search(head[0]):     # 18.3: on a stream a body needs a Content-Length
                codes, closes = codes | {"400"}, True
        drop = "drop" in text or sample.kind == "response"
        return cls(
            frozenset(codes), drop, closes, stalls, "Unsupported" in text, "exactly one" in text and not stream,
            "Vias echoed" in text,
        )  # fmt: skip

    def fault(self, sample: Sample, answers: Sequence[Answer], *, closed: bool = False) -> str:
        """What is wrong with this outcome; empty when nothing is."""
        final = [answer for answer in answers if answer.status >= 200]
        if not final:
            return "" if self.drop or (self.closes and closed) else "no answer"
        status = f"{final[0].status}"
        if not self.codes & {status, f"{status[0]}xx"}:
            return f"answered {final[0].first_line}"
        if self.once and len({answer.text for answer in answers}) > 1:
            return f"answered {len(answers)} times"
        if self.unsupported and not final[0].value("Unsupported"):
            return "no Unsupported in the 420"
        if self.closes and status == "400" and not closed:
            return "the stream is still open"
        if self.same_vias and not _echoed(sample, final[0]):
            return f"the Vias are not those of the request: {final[0].values('Via')}"
        return ""


def _echoed(sample: Sample, answer: Answer) -> bool:
    """Every Via comes back in its order; the first may have grown `received` and `rport`."""
    sent = [" ".join(value.split()) for value in _vias.findall(sample.raw.decode("latin-1"))]
    got = answer.values("Via")
    return len(got) == len(sent) and got[1:] == sent[1:] and got[0].startswith(sent[0])
