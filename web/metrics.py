"""/metrics for Prometheus: the panel's own figures and whatever collector the exchange brings.

Open to the machine itself (a scraper beside the exchange) and to supervisors; a proxied request is never "itself".
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.store import StoreUnavailable
from web.auth import sees_all
from web.panel import Panel, Refused, identify, panel_of

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


class PanelCollector(Collector):
    """The panel's own figures."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def collect(self) -> Iterable[Metric]:
        panel = self._panel
        yield GaugeMetricFamily("hookline_panel_sessions", "Signed-in browsers.", len(panel.sessions))
        yield GaugeMetricFamily("hookline_panel_streams", "Open event streams.", len(panel.hub))
        yield CounterMetricFamily(
            "hookline_panel_refreshes", "Times the feed fell behind the bus and began anew.", panel.hub.refreshes
        )
        yield CounterMetricFamily("hookline_panel_failures", "Requests that failed on our side.", panel.failures)
        yield from self._outbox()

    def _outbox(self) -> Iterable[Metric]:
        waiting = GaugeMetricFamily("hookline_outbox_waiting", "Calls a CRM is still to be told of.", labels=["crm"])
        parked = GaugeMetricFamily("hookline_outbox_parked", "Calls that a CRM refused to take.", labels=["crm"])
        oldest = GaugeMetricFamily(
            "hookline_outbox_oldest_seconds", "How long ago the oldest call of either was; 0: none.", labels=["crm"]
        )
        now = self._panel.wall()
        for one in self._panel.backlogs:
            waiting.add_metric([one.connector], one.waiting)
            parked.add_metric([one.connector], one.parked)
            oldest.add_metric([one.connector], 0.0 if one.oldest_at is None else max(0.0, now - one.oldest_at))
        return waiting, parked, oldest


def registry(panel: Panel, collector: Collector | None) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(PanelCollector(panel))
    if collector is not None:
        made.register(collector)
    return made


async def serve(request: Request) -> Response:
    if not is_local(request):
        who = await identify(request)
        if who is None or not sees_all(who[0]):
            raise Refused(403 if who else 401, "figures")
    panel = panel_of(request)
    if panel.outbox is not None:
        try:
            panel.backlogs = await panel.outbox.backlogs()
        except StoreUnavailable:    # the other figures are wanted all the more
            panel.backlogs = ()
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.metrics), headers={"Content-Type": content_type})


def is_local(request: Request) -> bool:
    """Whether the request comes straight from this machine, not through a proxy on it."""
    if request.client is None or any(name in request.headers for name in FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False
