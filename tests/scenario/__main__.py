"""`python -m tests.scenario`: the simulator."""

import sys

from tests.scenario.simulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
