"""The `hookline` command: what each sub-command is called and takes. What they do is in the rooms they call."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from pbxcore.settings import Settings
from pbxcore.settings_file import SettingsError, effective, load

DEFAULT_FILE = Path("hookline.toml")
BAD_SETTINGS = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hookline")
def main() -> None:
    """Hookline: an office telephone exchange that asks the CRM before it rings."""


config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The settings file; ./hookline.toml is read when it is there.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")


def read_settings(config: Path | None) -> Settings:
    """The settings file, or the defaults when none is named and none is there. Exits with 2 for a bad one."""
    from pbxcore.startup import stored_numbers

    path = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    if path is None:
        return Settings()
    try:
        return load(path, stored=stored_numbers)
    except SettingsError as error:
        fail(str(error), BAD_SETTINGS)


def fail(message: str, status: int = 1) -> NoReturn:
    """One sentence on standard error, and the end."""
    click.echo(message, err=True)
    sys.exit(status)


def run(coroutine: Coroutine[Any, Any, int]) -> NoReturn:
    """Run on uvloop where it exists."""
    try:
        import uvloop
    except ImportError:
        sys.exit(asyncio.run(coroutine))
    sys.exit(uvloop.run(coroutine))


@main.command()
@config_option
def serve(config: Path | None) -> None:
    """Run the exchange until SIGTERM or Ctrl-C."""
    from pbxcore.startup import serve as start

    run(start(read_settings(config)))


@main.command()
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Check the settings file and print what is in force; secrets are masked."""
    settings = read_settings(config)
    if as_json:
        click.echo(json.dumps(settings.model_dump(mode="json"), indent=2))
    else:
        from pbxcore.media.factory import kernel_refusal

        refusal = kernel_refusal(settings.media)
        click.echo(effective(settings), nl=False)
        click.echo(f"\n# the kernel {f'relays no audio: {refusal}' if refusal else 'relays audio where it can'}")


@main.command()
@click.argument("number")
@click.option("--to", "called", default="", help="The number that is called; the first inbound number if left out.")
@config_option
@json_option
def explain(number: str, called: str, config: Path | None, as_json: bool) -> None:
    """Show what would happen to a call from NUMBER. Nobody is rung."""
    from pbxcore.explain import explain as ask

    run(ask(read_settings(config), number, called, as_json))


@main.command()
@click.argument("call", required=False, default="")
@click.option("--last", type=click.IntRange(1, 100), default=1, help="The last so many calls; 1 if nothing is said.")
@click.option("--follow", is_flag=True, help="Every message from now on, a line each, until Ctrl-C.")
@click.option("--whole", is_flag=True, help="With every message in full, secrets masked.")
@click.option("--pcap", type=click.Path(path_type=Path, dir_okay=False), help="Write the call as a capture file.")
@config_option
@json_option
def trace(
    call: str, last: int, follow: bool, whole: bool, pcap: Path | None, config: Path | None, as_json: bool
) -> None:
    """Show the SIP ladder of a live or recent call of the running exchange: CALL, or the last."""
    from pbxcore.trace import trace as ask

    job = ask(read_settings(config), call, last, follow=follow, whole=whole, as_json=as_json, pcap=pcap)
    with suppress(KeyboardInterrupt):
        run(job)


@main.command()
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="From this day on (UTC).")
@click.option("--mend", is_flag=True, help="Tell the CRMs what they miss, and take back what they have twice.")
@config_option
@json_option
def reconcile(since: datetime | None, mend: bool, config: Path | None, as_json: bool) -> None:
    """Compare the journal with each CRM: calls, records, missing, doubled."""
    from pbxcore.reconcile import reconcile as compare

    begin = None if since is None else since.replace(tzinfo=UTC).timestamp()
    run(compare(read_settings(config), begin, mend=mend, as_json=as_json))


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--merge", is_flag=True, help="Merge contacts that share a number whatever their names.")
@click.option("--rejects", type=click.Path(path_type=Path, dir_okay=False), help="Write what was refused there.")
@config_option
@json_option
def import_contacts(file: Path, merge: bool, rejects: Path | None, config: Path | None, as_json: bool) -> None:
    """Take in contacts from a vCard (.vcf) or CSV FILE, beside a running exchange or without one."""
    from pbxcore.porting import take_in

    run(take_in(read_settings(config), file, merge_all=merge, rejects=rejects, as_json=as_json))


@main.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_option
def export_contacts(file: Path, config: Path | None) -> None:
    """Write all contacts to FILE: vCards if it ends in .vcf, else CSV."""
    from pbxcore.porting import give_out

    run(give_out(read_settings(config), file))


@main.command()
@click.argument("name", required=False, default="")
@click.option("--role", type=click.Choice(["agent", "supervisor", "admin"]), default="agent", show_default=True)
@click.option("--extension", default="", help="The one that an agent's token acts on.")
@click.option("--remove", is_flag=True, help="Take the token NAME back.")
@config_option
def token(name: str, role: str, extension: str, remove: bool, config: Path | None) -> None:
    """Make a token NAME for a program, printed once; without a NAME list them."""
    from pbxcore.tokens import tokens

    run(tokens(read_settings(config), name, role, extension, remove))


@main.command()
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The panel.")
@click.option("--post", required=True, help="Where to carry the calls: an endpoint as HTTP hooks have it.")
@click.option("--token", envvar="HOOKLINE_TOKEN", required=True, help="Of an agent; better in HOOKLINE_TOKEN.")
@click.option("--secret", envvar="HOOKLINE_SECRET", required=True, help="Signs the posts; better in HOOKLINE_SECRET.")
def agent(url: str, post: str, token: str, secret: str) -> None:
    """Carry the calls of one's own extension to the CRM, from one's own workstation, until Ctrl-C."""
    from crmhooks.connector import InvalidHook
    from crmhooks.connectors.http import make
    from pbxcore.workstation import work

    try:
        hook = make("--post", "workstation", post, secret)
    except InvalidHook as error:
        fail(f"hookline: {error}", BAD_SETTINGS)
    with suppress(KeyboardInterrupt):
        run(work(url, token, hook))


@main.command()
@json_option
@click.option("--slow-crm", is_flag=True, help="Let the CRM hook sleep: the phone must ring in time all the same.")
def demo(as_json: bool, slow_crm: bool) -> None:
    """A whole exchange on loopback ports with two phones: a known and an unknown caller, shown step by step."""
    from pbxcore.demo import demo as play

    run(play(as_json=as_json, slow_crm=slow_crm))


def _add_phone() -> None:
    from pbxcore.phone.command import phone

    main.add_command(phone)


_add_phone()
