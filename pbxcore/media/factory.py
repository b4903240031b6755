"""The relay that the settings name."""

from __future__ import annotations

from collections.abc import Iterable

from pbxcore.media.backend import MediaBackend
from pbxcore.media.relay import Relay
from pbxcore.settings import Media


def make_backend(media: Media, addresses: Iterable[str] = ()) -> MediaBackend:
    """`addresses` are the local addresses that phones reach us at: ports are held ready on them."""
    if media.backend == "rtpengine":
        from pbxcore.media.rtpengine import Rtpengine

        return Rtpengine(media.rtpengine, timeout_seconds=media.timeout_seconds)
    return Relay(
        ports=media.ports, workers=media.workers, timeout_seconds=media.timeout_seconds, addresses=addresses
    )
