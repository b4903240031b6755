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

from web.auth import sees_all
from web.panel import Panel, Refused, identify

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
            raise Refused(403 if who else 401, "Figures are for this machine itself and for supervisors.")
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
