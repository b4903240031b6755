"""`hookline phone`: the command's options. What it does is in `pbxcore.phone.errand`, imported when it runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.option("--register", "aor", metavar="URI", help="Register, as in sip:101@127.0.0.1:5060;transport=tcp.")
@click.option("--user", default="", help="The user name of the password, when it is not that of the URI.")
@click.option("--password", envvar="HOOKLINE_PASSWORD", default="", help="Better: the variable HOOKLINE_PASSWORD.")
@click.option("--listen", default="", metavar="ADDRESS", help="Local address, as in udp:127.0.0.1:5070; port 0 is any.")
@click.option("--ca", type=FILE, help="The CAs that a server reached by TLS is checked by, a PEM file.")
@click.option("--call", "target", default="", metavar="NUMBER", help="Call a number or a SIP URI.")
@click.option("--answer", is_flag=True, help="Wait for a call and answer it.")
@click.option("--answer-after", type=float, default=0.0, metavar="SECONDS", help="Let it ring so long first.")
@click.option("--reject", type=click.IntRange(400, 699), metavar="STATUS", help="Refuse the calls that come.")
@click.option("--play", type=FILE, help="Play a WAV file, over and over.")
@click.option("--once", is_flag=True, help="Play it once, then hang up.")
@click.option("--tone", type=click.IntRange(50, 3800), metavar="HZ", help="Play a tone.")
@click.option("--record", type=NEW_FILE, help="Write what is heard into a WAV file.")
@click.option("--dtmf", default="", metavar="DIGITS", help="Press these once the call is up.")
@click.option("--info", is_flag=True, help="Send the digits by INFO instead of RFC 4733.")
@click.option("--transfer", default="", metavar="NUMBER", help="Then transfer the other side there (REFER).")
@click.option("--expect-tone", type=int, metavar="HZ", help="Fail unless this tone is heard.")
@click.option("--seconds", type=float, metavar="N", help="Hang up, or without a call unregister, after so long.")
@click.option("--wait", type=float, metavar="N", help="Give up when no call is up after so long.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for every event.")
def phone(
    aor: str | None,
    user: str,
    password: str,
    listen: str,
    ca: Path | None,
    target: str,
    answer: bool,
    answer_after: float,
    reject: int | None,
    play: Path | None,
    once: bool,
    tone: int | None,
    record: Path | None,
    dtmf: str,
    info: bool,
    transfer: str,
    expect_tone: int | None,
    seconds: float | None,
    wait: float | None,
    as_json: bool,
) -> None:
    """A SIP phone for the command line: register, call or be called, play, listen, press digits, transfer.

    Exit status: 0 when all that was asked for has happened, 1 when not.
    """
    if target and (answer or reject):
        raise click.UsageError("a phone either calls (--call) or is called (--answer, --reject)")
    if not aor and not target and not (listen and (answer or reject)):
        raise click.UsageError("say what to do: --register URI, --call URI, or --listen ADDRESS with --answer")
    if play and tone:
        raise click.UsageError("--play and --tone exclude each other")
    if set(dtmf.upper()) - set("0123456789*#ABCD"):
        raise click.UsageError("--dtmf takes the digits 0 to 9, *, # and A to D")
    if aor and not password and sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, default="", show_default=False)

    from pbxcore.phone.errand import Errand, run

    errand = Errand(
        aor=aor or "", username=user, password=password, listen=listen, ca=str(ca or ""), target=target,
        answer=answer, answer_after=answer_after, reject=reject, play=play, once=once, tone=tone, record=record,
        dtmf=dtmf, info=info,
        transfer=transfer, expect_tone=expect_tone, seconds=seconds, wait=wait, as_json=as_json,
    )  # fmt: skip
    sys.exit(asyncio.run(run(errand)))
