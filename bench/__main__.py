"""`python -m bench setup | relay | parse | crm | peers | report`: what each measures is told by its own --help."""

from __future__ import annotations

import importlib
import sys

from bench import machine

COMMANDS = {
    "setup": "call set-up: latency from the intended arrival, failures, CPU a call",
    "relay": "RTP: CPU a packet, delay, loss",
    "parse": "the SIP parser and builder",
    "crm": "what asking the CRM on the way costs; first-party against third-party control",
    "peers": "the same set-up load against whichever peers are installed",
    "report": "all of it, written to bench/RESULTS.md",
}
MODULES = {"peers": "bench.peers.command"}
ANYWHERE = ("parse",)       # has no load beside it


def main() -> int:
    """Run the command named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        print("usage: python -m bench COMMAND [options]")
        for command, what in COMMANDS.items():
            print(f"  {command:<8} {what}")
        return 0 if name in ("-h", "--help") else 2
    if machine.has_jit() and name not in ANYWHERE:
        print(
            "The load runs on CPython, for everybody: a JIT that warms up in it would be in every latency. To measure "
            f"the exchange on this interpreter: python3 -m bench {name} --interpreter {sys.executable}",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(MODULES.get(name, f"bench.{name}"))
    return int(module.main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
