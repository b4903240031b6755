"""/metrics: every counter and gauge, named once and read when asked."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from pbxcore.call.panel import Control
from pbxcore.collector import Collector
from pbxcore.media.backend import KernelState
from pbxcore.metrics import Metrics
from pbxcore.net.endpoint import Endpoint
from pbxcore.store import Store
from pbxcore.store import open as open_store
from tests.scenario.carrier import SECOND, Carrier, TrunkOffice
from tests.scenario.office import EXCHANGE, Office


def read(metrics: Metrics) -> dict[str, float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def make(office: Office, store: Store) -> Metrics:
    return Metrics(office.exchange, Endpoint(), office.bus, store)


async def test_a_call_shows(tmp_path: Path) -> None:
    office = Office()
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    metrics = make(office, store)
    assert read(metrics)["hookline_call_calls_total"] == 0
    desk, carrier = office.phone("101"), office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    values = read(metrics)
    assert values["hookline_call_calls_total"] == 1
    assert values["hookline_live_calls"] == 1
    assert values["hookline_dialogs"] == 2
    assert values["hookline_media_ports"] == 2
    assert values["hookline_subscriptions"] == values["hookline_texts_waiting"] == 0
    assert values["hookline_sip_requests_in_total"] >= 3
    carrier.bye(talk)
    office.assert_nothing_left()
    values = read(metrics)
    assert values["hookline_live_calls"] == values["hookline_dialogs"] == 0
    assert values["hookline_call_answered_total"] == 1
    store.engine.dispose()


async def test_every_counter_is_there(tmp_path: Path) -> None:
    office = Office()
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    metrics = make(office, store)
    values = read(metrics)
    for prefix, counters in (("call", office.exchange.counters), ("sip", office.exchange.layer.counters)):
        for field in dataclasses.fields(counters):
            assert f"hookline_{prefix}_{field.name}_total" in values
    assert "hookline_collector_last_pause_seconds" not in values
    metrics.collector = Collector(asyncio.get_running_loop().time, lambda: 0)
    assert read(metrics)["hookline_collector_worst_pause_seconds"] == 0
    store.engine.dispose()


async def test_why_the_kernel_relays_nothing_shows(tmp_path: Path) -> None:
    office = Office()
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(make(office, store))
    assert 'hookline_media_kernel_relay{reason="nothing is relayed"} 0.0' in generate_latest(registry).decode()
    office.relay.kernel = lambda: KernelState("", 2, 7)     # type: ignore[method-assign]
    text = generate_latest(registry).decode()
    assert 'hookline_media_kernel_relay{reason=""} 1.0' in text
    assert "hookline_media_kernel_streams 2.0" in text
    assert "hookline_media_kernel_packets_total 7.0" in text
    store.engine.dispose()


async def test_every_trunk_shows(tmp_path: Path) -> None:
    """With what is wrong, in words; a trunk that does not register says nothing of it."""
    office = TrunkOffice(options_seconds=5)
    office.add("plain", "127.0.0.3", options_seconds=5)
    carrier = Carrier(office.world)
    Carrier(office.world, SECOND).options = 0
    office.start(seconds=60.0)
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(make(office, store))
    text = generate_latest(registry).decode()
    assert carrier.held
    assert 'hookline_trunk_registered{trunk="carrier"} 1.0' in text
    assert 'hookline_trunk_reachable{trunk="carrier"} 1.0' in text
    assert 'hookline_trunk_reachable{trunk="plain"} 0.0' in text
    assert 'hookline_trunk_registered{trunk="plain"}' not in text
    words = "udp:127.0.0.3:5060: no answer to OPTIONS"
    assert f'hookline_trunk_problem{{reason="{words}",trunk="plain"}} 1.0' in text
    assert [(state.name, state.reason) for state in Control(office.exchange).trunks()] == [
        ("carrier", ""), ("plain", words),
    ]  # fmt: skip
    store.engine.dispose()
