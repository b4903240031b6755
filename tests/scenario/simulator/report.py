"""What many runs came to: counted, kept in a file, and taken up again where it ended."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.scenario.simulator.run import CALLS, Result

SHOWN = 20      # violations in full
FAULTS = {
    "net": "the network", "disk": "the disk", "crm": "the CRM", "exchange": "the exchange itself", "relay": "the relay",
    "office": "the office",
}  # fmt: skip
DEEDS = {
    "caller": "who calls", "callee": "who is called", "carrier": "carriers", "talk": "two who talk",
    "phone": "phones between calls", "watcher": "who watches", "stray": "messages that belong to nothing",
}  # fmt: skip


@dataclass
class Report:
    """The sum of many runs, of the seeds from `first` on. `command` and `revision` are what its reader is told of where
    it came from."""

    first: int
    seeds: int = 0
    calls: int = 0
    answered: int = 0
    messages: int = 0
    seconds: float = 0.0
    command: str = ""
    revision: str = ""
    done: Counter[str] = field(default_factory=Counter)
    violations: dict[int, list[str]] = field(default_factory=dict)
    calls_a_run: int = CALLS

    @property
    def next(self) -> int:
        """The first seed that is not in it."""
        return self.first + self.seeds

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.calls += result.calls
        self.answered += result.answered
        self.messages += result.messages
        self.done.update(result.done)
        if result.violations:
            self.violations[result.seed] = result.violations

    # ---- as files

    @classmethod
    def read(cls, path: Path) -> Report:
        """One that `write` has written as JSON. Raises OSError, ValueError."""
        kept = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            kept["first"], kept["seeds"], kept["calls"], kept["answered"], kept["messages"], kept["seconds"],
            kept["command"], kept["revision"], Counter(kept["done"]),
            {int(seed): found for seed, found in kept["violations"].items()}, kept["calls_a_run"],
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Markdown or JSON, by the name of the file; whole or not at all."""
        text = self.as_markdown() if path.suffix == ".md" else self.as_json() + "\n"
        beside = path.with_name(path.name + ".new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)

    def as_json(self) -> str:
        return json.dumps(
            {
                "command": self.command, "revision": self.revision, "calls_a_run": self.calls_a_run,
                "first": self.first, "seeds": self.seeds, "calls": self.calls, "answered": self.answered,
                "messages": self.messages, "seconds": round(self.seconds, 1), "done": dict(sorted(self.done.items())),
                "violations": {str(seed): found for seed, found in sorted(self.violations.items())},
            },
            indent=1,
        )  # fmt: skip

    @property
    def summary(self) -> str:
        return (
            f"seeds {self.first} to {self.next - 1}: {self.calls} calls ({self.answered} answered), "
            f"{self.messages} messages, in {self.seconds:.1f} s ({self.calls / max(self.seconds, 0.001):.0f} calls/s)"
        )

    @property
    def _verdict(self) -> str:
        return f"{len(self.violations)} seeds with violations" if self.violations else "no violation"

    def _violations(self) -> Iterator[str]:
        for seed, found in sorted(self.violations.items())[:SHOWN]:
            yield f"seed {seed} (python -m tests.scenario --replay {seed}):"
            yield from (f"  {one}" for one in found)

    def as_text(self) -> str:
        rows = [f"  {count:8}  {what}" for what, count in sorted(self.done.items())]
        total = f"{sum(self.done.values())} deeds and faults:"
        return "\n".join([self.summary, total, *rows, *self._violations(), self._verdict])

    def as_markdown(self) -> str:
        by_kind: dict[str, dict[str, int]] = {}
        for what, count in sorted(self.done.items()):
            kind, _, name = what.partition(": ")
            by_kind.setdefault(kind, {})[name] = count
        faults = sum(sum(by_kind.get(kind, {}).values()) for kind in FAULTS)
        deeds = sum(sum(by_kind.get(kind, {}).values()) for kind in DEEDS)
        lines = [
            "# Simulated calls", "",
            f"- Command: `{self.command}`",
            f"- Seeds {self.first} to {self.next - 1}, {self.calls_a_run} planned calls each",
            f"- Revision: {self.revision or 'not said'}; Python {platform.python_version()}, "
            f"SQLite {sqlite3.sqlite_version}",
            f"- Calls: {self.calls:,}, of which {self.answered:,} were answered",
            f"- Messages: {self.messages:,}",
            f"- Faults of the surroundings: {faults:,}; deeds of phones and people: {deeds:,}",
            f"- Time: {self.seconds:,.0f} s, {self.calls / max(self.seconds, 0.001):.0f} calls/s",
            f"- **Violations: {sum(map(len, self.violations.values()))}**"
            f"{f' in {len(self.violations)} seeds' if self.violations else ''}",
        ]  # fmt: skip
        if self.violations:
            lines += ["", "## Violations", "", "```text", *self._violations(), "```"]
        lines += ["", "## Faults", "", *_table("Fault", FAULTS, by_kind)]
        lines += ["", "## Deeds", "", *_table("Deed", DEEDS, by_kind)]
        others = {kind: kind for kind in by_kind if kind not in FAULTS and kind not in DEEDS}
        lines += ["", "## What came of them", "", *_table("What", others, by_kind)]
        return "\n".join(lines) + "\n"


def _table(head: str, kinds: dict[str, str], by_kind: dict[str, dict[str, int]]) -> Iterator[str]:
    yield f"| Of | {head} | Times |"
    yield "|---|---|---:|"
    for kind, said in kinds.items():
        for name, count in by_kind.get(kind, {}).items():
            yield f"| {said} | {name} | {count:,} |"
