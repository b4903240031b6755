"""Each machine against any order of messages, timers and faults: only arrows of its figure, one last word, an end."""

from __future__ import annotations

from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pbxcore.sip import build, figures
from pbxcore.sip.figures import State, Table
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import SPENT, ClientTransaction, ServerTransaction
from tests.unit.sip.joined import Bench, outgoing, request

SETTINGS = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
transports = st.sampled_from(["UDP", "TCP"])
provisionals = st.sampled_from([100, 180, 183, 199])
failures = st.sampled_from([302, 401, 404, 486, 487, 503, 603])
tags = st.sampled_from(["one", "two", "three"])
waits = st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0, 4.0, 5.0, 16.0, 32.0, 64.0])


class Machine(RuleBasedStateMachine):
    """What the four have in common: a bench, one transaction, and the arrows it has taken."""

    table: ClassVar[Table]

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.tx: ServerTransaction | ClientTransaction | None = None
        self.before: State | None = None
        self.taken: list[tuple[State, State]] = []

    def follow(self) -> None:
        """Notes every change of state, seen from inside of `feed` and `on_timer`."""
        tx = self.tx
        assert tx is not None
        if self.before is not None and tx.state is not self.before:
            self.taken.append((self.before, tx.state))
        self.before = tx.state

    @precondition(lambda self: self.tx is not None)
    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while (at := self.bench.timers.next_at()) is not None and at <= end:
            self.bench.now = at
            self.bench.timers.fire(at)
            self.follow()
        self.bench.now = end

    @precondition(lambda self: self.tx is not None)
    @rule()
    def lose_the_stream(self) -> None:
        self.bench.layer.flow_lost(self.bench.flow)

    @invariant()
    def only_arrows_of_the_figure_are_taken(self) -> None:
        if self.tx is None:
            return
        self.follow()
        arrows = {(state, following) for (state, _), (following, _) in self.table.items()}
        for before, after in self.taken:
            assert after in reachable(arrows, before), (before, after)
        self.taken.clear()

    @invariant()
    def the_ended_hold_nothing(self) -> None:
        if self.tx is None or self.tx.state is not State.TERMINATED:
            return
        assert self.tx.owner is None
        assert self.tx.request is SPENT
        assert self.tx.data == b""
        assert self.tx not in self.bench.layer._servers.values()
        assert self.tx not in self.bench.layer._clients.values()

    def end(self) -> None:
        """What the transaction user owes: a final response, or a CANCEL. Then time alone ends everything."""

    def teardown(self) -> None:
        if self.tx is None:
            return
        self.end()
        self.bench.run(200)
        assert self.tx.state is State.TERMINATED
        assert self.bench.empty
        assert len(self.bench.timers) == 0
        self.the_ended_hold_nothing()


def reachable(arrows: set[tuple[State, State]], start: State) -> set[State]:
    """One stimulus may take two arrows: over a stream Completed ends in the same breath."""
    once = {after for before, after in arrows if before is start}
    return once | {after for before, after in arrows if before in once}


class InviteServerMachine(Machine):
    table = figures.INVITE_SERVER

    @precondition(lambda self: self.tx is None)
    @rule(transport=transports)
    def arrive(self, transport: str) -> None:
        self.bench = Bench(transport)
        self.bench.receive(request(transport=transport))
        (self.tx,) = self.bench.user.servers

    @precondition(lambda self: self.tx is not None and self.tx.state is not State.TERMINATED)
    @rule()
    def copy(self) -> None:
        self.bench.receive(request())

    @precondition(lambda self: self.tx is not None)
    @rule(status=provisionals | failures | st.just(200))
    def answer(self, status: int) -> None:
        assert isinstance(self.tx, ServerTransaction)
        self.bench.layer.respond(self.tx, build.response(self.tx.request, status, to_tag="ours"))

    @precondition(lambda self: self.tx is not None)
    @rule(branch=st.sampled_from(["z9hG4bKpeer1", "z9hG4bKack"]), tag=st.sampled_from(["ours", "other"]))
    def acknowledge(self, branch: str, tag: str) -> None:
        self.bench.receive(request("ACK", branch=branch, to_tag=tag))

    @precondition(lambda self: self.tx is not None)
    @rule()
    def cancel(self) -> None:
        self.bench.receive(request("CANCEL"))

    @precondition(lambda self: self.tx is not None)
    @rule()
    def refuse(self) -> None:
        assert isinstance(self.tx, ServerTransaction)
        self.bench.layer.refuse(self.tx, build.response(self.tx.request, 401, to_tag="ours"))

    @invariant()
    def one_final_response(self) -> None:
        finals = {line for line in self.bench.flow.lines if line.endswith(" INVITE") and line[0] != "1"}
        assert len(finals) <= 1

    @invariant()
    def nothing_provisional_after_the_final(self) -> None:
        lines = [line for line in self.bench.flow.lines if line.endswith(" INVITE")]
        finals = [index for index, line in enumerate(lines) if line[0] != "1"]
        assert not finals or all(line[0] != "1" for line in lines[finals[0] :])

    @invariant()
    def one_invite_and_one_word_about_its_ack(self) -> None:
        heard = self.bench.user.heard
        assert heard.count("INVITE") == (self.tx is not None)
        assert heard.count("ack") + heard.count("no ack") <= 1

    def end(self) -> None:
        self.answer(487)
        if self.tx is not None and "transport error" not in self.bench.user.heard:
            finals = {line for line in self.bench.flow.lines if line.endswith(" INVITE") and line[0] != "1"}
            assert len(finals) == 1


class ServerMachine(Machine):
    table = figures.SERVER

    @precondition(lambda self: self.tx is None)
    @rule(transport=transports)
    def arrive(self, transport: str) -> None:
        self.bench = Bench(transport)
        self.bench.receive(request("OPTIONS", transport=transport))
        (self.tx,) = self.bench.user.servers

    @precondition(lambda self: self.tx is not None and self.tx.state is not State.TERMINATED)
    @rule()
    def copy(self) -> None:
        self.bench.receive(request("OPTIONS"))

    @precondition(lambda self: self.tx is not None)
    @rule(status=provisionals | failures | st.just(200))
    def answer(self, status: int) -> None:
        assert isinstance(self.tx, ServerTransaction)
        self.bench.layer.respond(self.tx, build.response(self.tx.request, status, to_tag="ours"))

    @invariant()
    def one_final_response_and_one_request(self) -> None:
        assert len({line for line in self.bench.flow.lines if line[0] != "1"}) <= 1
        assert self.bench.user.heard.count("OPTIONS") == (self.tx is not None)

    def end(self) -> None:
        self.answer(500)


class ClientMachine(Machine):
    table = figures.CLIENT
    method = "OPTIONS"

    @precondition(lambda self: self.tx is None)
    @rule(transport=transports)
    def send(self, transport: str) -> None:
        self.bench = Bench(transport)
        self.tx = self.bench.layer.request(outgoing(self.method), self.bench.flow, self.bench.user)

    def respond(self, status: int, tag: str) -> None:
        sent = self.bench.flow.messages[0]
        assert isinstance(sent, Request)
        self.bench.receive(build.response(sent, status, to_tag=None if status == 100 else tag))

    @precondition(lambda self: self.tx is not None)
    @rule(status=provisionals | failures | st.just(200), tag=tags)
    def answer(self, status: int, tag: str) -> None:
        self.respond(status, tag)

    @invariant()
    def one_last_word(self) -> None:
        words = [word for word in self.bench.user.heard if word[0] != "1"]
        assert len(words) <= 1
        if words:
            assert self.bench.user.heard[-1] == words[0]

    def end(self) -> None:
        self.bench.run(64)
        if self.method != "INVITE":
            assert len([word for word in self.bench.user.heard if word[0] != "1"]) == 1


class InviteClientMachine(ClientMachine):
    table = figures.INVITE_CLIENT
    method = "INVITE"

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = False

    @precondition(lambda self: self.tx is not None)
    @rule()
    def cancel(self) -> None:
        assert isinstance(self.tx, ClientTransaction)
        self.cancelled = True
        self.bench.layer.cancel(self.tx)

    @precondition(lambda self: self.tx is not None)
    @rule(status=st.sampled_from([200, 481]))
    def answer_the_cancel(self, status: int) -> None:
        for sent in self.bench.flow.messages:
            if isinstance(sent, Request) and sent.method == "CANCEL":
                self.bench.receive(build.response(sent, status, to_tag="x"))
                return

    @precondition(lambda self: bool(self.bench.user.responses) and self.bench.user.responses[-1].status == 200)
    @rule()
    def acknowledge(self) -> None:
        assert isinstance(self.tx, ClientTransaction)
        response = self.bench.user.responses[-1]
        ack = outgoing("ACK")
        ack.replace("To", response.first("to") or "")
        self.bench.layer.acknowledge(self.tx, ack, self.bench.flow, response)

    @precondition(lambda self: self.tx is not None)
    @rule()
    def release(self) -> None:
        assert isinstance(self.tx, ClientTransaction)
        self.bench.layer.release(self.tx)

    @invariant()
    def one_last_word(self) -> None:
        heard = self.bench.user.heard
        finals = [word for word in heard if word[0] != "1"]
        if "200" in finals:
            told = [msg.to_tag for msg in self.bench.user.responses if msg.status == 200]
            assert set(finals) == {"200"}
            assert len(told) == len(set(told))
        else:
            assert len(finals) <= 1
        first = next((index for index, word in enumerate(heard) if word[0] != "1"), len(heard))
        assert all(word[0] != "1" for word in heard[first:])

    @invariant()
    def a_cancel_goes_out_after_a_provisional_only(self) -> None:
        lines = self.bench.flow.lines
        if "CANCEL" in lines:
            assert self.cancelled
            assert any(word[0] == "1" for word in self.bench.user.heard)

    @invariant()
    def every_refusal_is_acknowledged(self) -> None:
        if any(msg.status >= 300 for msg in self.bench.user.responses):
            assert "ACK" in self.bench.flow.lines

    def end(self) -> None:
        """Only an INVITE that rings waits without end, until it is cancelled (13.2.1)."""
        self.cancel()
        self.bench.run(64)
        heard = self.bench.user.heard
        assert [word for word in heard if word[0] != "1"], heard


TestInviteServer = InviteServerMachine.TestCase
TestInviteServer.settings = SETTINGS
TestServer = ServerMachine.TestCase
TestServer.settings = SETTINGS
TestClient = ClientMachine.TestCase
TestClient.settings = SETTINGS
TestInviteClient = InviteClientMachine.TestCase
TestInviteClient.settings = SETTINGS
