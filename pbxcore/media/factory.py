"""The relay that the settings name, and whether the kernel may help."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pbxcore.media.backend import RTPENGINE, SWITCHED_OFF, MediaBackend, itself
from pbxcore.media.kernel import trial
from pbxcore.media.relay import Relay
from pbxcore.settings import Media


def make_backend(
    media: Media, addresses: Iterable[str] = (), behind: Callable[[str], str] = itself
) -> MediaBackend:
    """`addresses` are the local addresses that phones reach us at: ports are held ready on them. `behind` gives the
    local address that packets come in at which are sent to the address that a peer is told."""
    if media.backend == "rtpengine":
        from pbxcore.media.rtpengine import Rtpengine

        return Rtpengine(media.rtpengine, timeout_seconds=media.timeout_seconds, behind=behind)
    return Relay(
        ports=media.ports, workers=media.workers, timeout_seconds=media.timeout_seconds, addresses=addresses,
        behind=behind, kernel=media.kernel_relay == "auto",
    )  # fmt: skip


def kernel_refusal(media: Media) -> str:
    """Why the kernel would relay nothing in place of the workers; empty when it would. Tries it."""
    if media.backend == "rtpengine":
        return RTPENGINE
    if media.kernel_relay == "off":
        return SWITCHED_OFF
    return trial()
