"""The `dialog` package (RFC 4235): what the lamps of busy lamp fields show.

Any extension of the office may watch any other. A new subscription and every refresh get the full state, what follows
is what changed. Filters (the parameters call-id, to-tag and from-tag of Event, section 3.2) are not applied.

Phones have one colour for whoever is not to be disturbed, and know of nothing but dialogs. So an agent who writes his
summary has a confirmed dialog of no call: an id of its own, nobody at the other end, nothing to be picked up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pbxcore.call.subscriptions.calls import CallWatch, Entry
from pbxcore.call.subscriptions.package import Changed, Refused, Watching, text
from pbxcore.sip.uri import escape_user


class DialogPackage:
    """`extensions` are those of the office, `wall` Unix time, `token` fresh random text."""

    name = "dialog"
    content_type = "application/dialog-info+xml"
    gap = 1.0        # section 3.10
    expires = 3600   # section 3.4

    def __init__(
        self, calls: CallWatch, extensions: Callable[[], Mapping[str, object]], changed: Changed,
        wall: Callable[[], float], token: Callable[[], str],
    ) -> None:  # fmt: skip
        self._calls = calls
        self._extensions = extensions
        self._tell = changed
        self._wall = wall
        self._token = token
        self._lit: dict[str, Entry] = {}     # by extension: what shines without a call

    def may_watch(self, watcher: str, resource: str) -> None:
        if resource not in self._extensions():
            raise Refused(404)

    def begin(self, resource: str) -> None:
        self._calls.watch(resource, self._changed)

    def end(self, resource: str) -> None:
        self._calls.unwatch(resource, self._changed)

    def _changed(self, extension: str, changed: Mapping[str, Entry]) -> None:
        self._tell(self.name, extension, changed)

    def light(self, extension: str, *, on: bool) -> None:
        """Let his lamp shine whether or not he is in a call, or by his calls alone again."""
        if on == (extension in self._lit):
            return
        if on:
            entry = self._lit[extension] = Entry(self._token(), "", "confirmed", self._wall())
        else:
            entry = replace(self._lit.pop(extension), state="terminated")
        self._tell(self.name, extension, {entry.id: entry})

    def document(self, watching: Watching) -> bytes:
        found = [*watching.pending.values()]
        if watching.whole:
            lit = self._lit.get(watching.resource)
            found = [*self._calls.entries(watching.resource).values(), *([lit] if lit is not None else ())]
        now, entity = self._wall(), text(watching.entity)
        host = watching.entity.rpartition("@")[2]
        dialogs = "".join([_dialog(entry, entity, host, now) for entry in found if isinstance(entry, Entry)])
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\r\n'
            f'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="{watching.version}" '
            f'state="{"full" if watching.whole else "partial"}" entity="{entity}">{dialogs}\r\n</dialog-info>\r\n'
        ).encode()


def _dialog(entry: Entry, entity: str, host: str, now: float) -> str:
    tags = ""
    if entry.call_id:
        tags += f' call-id="{text(entry.call_id)}"'
        tags += f' local-tag="{text(entry.local_tag)}"' if entry.local_tag else ""
        tags += f' remote-tag="{text(entry.remote_tag)}"' if entry.remote_tag else ""
    if entry.direction:
        tags += f' direction="{entry.direction}"'
    why = f' event="{entry.event}"' if entry.event else ""
    why += f' code="{entry.code}"' if entry.code is not None else ""
    remote = text(f"sip:{escape_user(entry.remote)}@{host}") if entry.remote else ""
    name = f' display="{text(entry.remote_name)}"' if entry.remote_name else ""
    rendering = "no" if entry.held else "yes"
    far = f'<remote><identity{name}>{remote}</identity><target uri="{remote}"/></remote>' if remote else ""
    return (
        f'\r\n<dialog id="{text(entry.id)}"{tags}>'
        f"<state{why}>{entry.state}</state><duration>{max(0, round(now - entry.since))}</duration>"
        f'<local><identity>{entity}</identity><target uri="{entity}">'
        f'<param pname="+sip.rendering" pval="{rendering}"/></target></local>{far}</dialog>'
    )
