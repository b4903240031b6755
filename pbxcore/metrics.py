"""/metrics: every counter of the exchange, read when Prometheus asks and never before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as Source

from pbxcore.bus import Bus
from pbxcore.call.exchange import Exchange
from pbxcore.call.keeper import state_of
from pbxcore.collector import Collector
from pbxcore.net.endpoint import Endpoint
from pbxcore.store import Store


class Metrics(Source):
    """A collector for `prometheus_client`."""

    def __init__(self, exchange: Exchange, endpoint: Endpoint, bus: Bus, store: Store) -> None:
        self._exchange = exchange
        self._endpoint = endpoint
        self._bus = bus
        self._store = store
        self.collector: Collector | None = None

    def collect(self) -> Iterator[Metric]:
        exchange = self._exchange
        for prefix, counters in (
            ("call", exchange.counters),
            ("sip", exchange.layer.counters),
            ("net", self._endpoint.counters),
        ):
            for field in dataclasses.fields(counters):
                name = f"hookline_{prefix}_{field.name}"
                yield CounterMetricFamily(name, field.name.replace("_", " "), getattr(counters, field.name))
        for name, what, value in self._gauges():
            yield GaugeMetricFamily(f"hookline_{name}", what, value)
        yield from self._trunks()
        yield from self._kernel()

    def _trunks(self) -> Iterator[Metric]:
        calls = GaugeMetricFamily("hookline_trunk_calls", "calls of a trunk", labels=["trunk"])
        reachable = GaugeMetricFamily("hookline_trunk_reachable", "whether a server of it answers", labels=["trunk"])
        registered = GaugeMetricFamily(
            "hookline_trunk_registered", "whether it is registered; only trunks that register", labels=["trunk"]
        )
        problem = GaugeMetricFamily("hookline_trunk_problem", "what is wrong, in words", labels=["trunk", "reason"])
        for trunk in self._exchange.trunks:
            state = state_of(trunk)
            calls.add_metric([state.name], state.calls)
            reachable.add_metric([state.name], float(state.reachable))
            if state.registration != "off":
                registered.add_metric([state.name], float(state.registration == "registered"))
            if state.reason:
                problem.add_metric([state.name, state.reason], 1.0)
        yield from (calls, reachable, registered, problem)

    def _kernel(self) -> Iterator[Metric]:
        state = self._exchange.media.kernel()
        on = GaugeMetricFamily(
            "hookline_media_kernel_relay", "whether the kernel relays audio by itself, and why not", labels=["reason"]
        )
        on.add_metric([state.refusal], float(not state.refusal))
        yield on
        yield GaugeMetricFamily("hookline_media_kernel_streams", "streams that the kernel relays", state.streams)
        yield CounterMetricFamily("hookline_media_kernel_packets", "packets that the kernel relayed", state.packets)

    def _gauges(self) -> Iterator[tuple[str, str, float]]:
        exchange = self._exchange
        yield "live_calls", "calls that are up or being set up", len(exchange.live)
        yield "behind", "whether new calls are refused because messages wait too long", float(exchange.pressure.behind)
        yield "dialogs", "dialogs that are open", len(exchange.dialogs)
        yield "server_transactions", "transactions of requests received", exchange.layer.server_count()
        yield "client_transactions", "transactions of requests sent", exchange.layer.client_count()
        yield "timers", "timers that wait", len(exchange.timers)
        yield "subscriptions", "subscriptions of phones", len(exchange.events.notifier)
        yield "texts_waiting", "texts that wait for their phone", len(exchange.texts)
        yield "media_ports", "ports that calls hold", exchange.media.ports_in_use()
        yield "bus_dropped_readers", "readers of events that were cut off", self._bus.dropped_readers
        yield "store_backlog_bytes", "records that the database has not got yet", self._store.backlog_bytes
        if self.collector is not None:
            yield "collector_last_pause_seconds", "the last pause for Python's collector", self.collector.last_pause
            yield "collector_worst_pause_seconds", "the longest such pause", self.collector.worst_pause
