"""`python -m bench setup | relay | parse | crm | peers | report`: what each measures is told by its own --help."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "setup": "call set-up: latency from the intended arrival, failures, CPU a call",
    "relay": "RTP: CPU a packet, delay, loss",
    "parse": "the SIP parser and builder",
    "crm": "what asking the CRM on the way costs; first-party against third-party control",
    "peers": "the same set-up load against whichever peers are installed",
    "report": "all of it, written to bench/RESULTS.md",
}
MODULES = {"peers": "bench.peers.command"}


def main() -> int:
    """Run the command named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        print("usage: python -m bench COMMAND [options]")
        for command, what in COMMANDS.items():
            print(f"  {command:<8} {what}")
        return 0 if name in ("-h", "--help") else 2
    module = importlib.import_module(MODULES.get(name, f"bench.{name}"))
    return int(module.main(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
