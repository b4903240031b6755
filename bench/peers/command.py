"""`python -m bench peers`: the same set-up load against whichever peers are installed, beside ours of the same run."""

from __future__ import annotations

from bench import setup


def main(argv: list[str]) -> int:
    """0 when no call of ours failed. A peer that is not installed is said so."""
    arguments = setup.parser("python -m bench peers", (__doc__ or "").splitlines()[0]).parse_args(argv)
    return setup.perform(setup.plan_of(arguments), arguments, with_peers=True)
