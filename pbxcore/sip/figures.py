"""The figures of RFC 3261 section 17 with the corrections of RFC 6026, as data.

A machine is a table, one row per arrow of its figure: `{(state, input): (next state, actions)}`. No row, no effect:
that is all there is to a stale timer, a late answer or a copy of a message. A row's state is entered before its actions
run, so that what a transaction user does from inside of them meets the new state.

Beyond the figures, because their conditions are states here and no flags:
- INVITE server: Trying is Proceeding before anything was sent (100 is due, 17.2.1). Accepted sends its 2xx again by
  itself (13.3.1.4); Acknowledged is Accepted with its ACK come.
- INVITE client: Abandoned is Calling with a CANCEL that waits for a provisional response, Cancelled is Proceeding with
  its CANCEL sent (section 9.1).
- Servers: a refusal is a final response that leaves no transaction behind (8.2.7), for challenges and strangers.
A lost stream ends a transaction wherever it waits for the peer, Proceeding included, where the figures wait on; the
owner of a completed one has had its last word and hears nothing.

What the actions do is in `transaction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    TRYING = "Trying"
    CALLING = "Calling"
    ABANDONED = "Abandoned"
    PROCEEDING = "Proceeding"
    CANCELLED = "Cancelled"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    ACKNOWLEDGED = "Acknowledged"
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What a machine can be fed: messages, and timers by their letters in the RFC."""

    REQUEST = "request again"
    ACK = "ACK"
    CANCEL = "CANCEL"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    FINAL = "200-699"
    REFUSAL = "refusal"
    TRANSPORT_ERROR = "transport error"
    TIMER_TRYING = "100"  # 17.2.1: 200 ms
    TIMER_2XX = "2xx again"  # 13.3.1.4: T1 to T2
    TIMER_CANCEL = "cancelled"  # 9.1: 64*T1 after a CANCEL
    TIMER_A = "A"
    TIMER_B = "B"
    TIMER_D = "D"
    TIMER_E = "E"
    TIMER_F = "F"
    TIMER_G = "G"
    TIMER_H = "H"
    TIMER_I = "I"
    TIMER_J = "J"
    TIMER_K = "K"
    TIMER_L = "L"
    TIMER_M = "M"


S, I = State, Input  # noqa: E741  # short, so that the tables can be read as figures
Row = tuple[State, tuple[str, ...]]
Table = Mapping[tuple[State, Input], Row]

# Figure 7, as replaced by RFC 6026 section 8.4.
INVITE_SERVER: Table = {
    (S.TRYING, I.REQUEST): (S.PROCEEDING, ("send_trying",)),
    (S.TRYING, I.TIMER_TRYING): (S.PROCEEDING, ("send_trying",)),
    (S.TRYING, I.PROVISIONAL): (S.PROCEEDING, ("send",)),
    (S.TRYING, I.SUCCESS): (S.ACCEPTED, ("send", "start_l")),
    (S.TRYING, I.FAILURE): (S.COMPLETED, ("send", "start_g_h")),
    (S.TRYING, I.REFUSAL): (S.TERMINATED, ("send", "end", "drop")),
    (S.TRYING, I.CANCEL): (S.TRYING, ("tell_cancel",)),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, ("send_again",)),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, ("send",)),
    (S.PROCEEDING, I.SUCCESS): (S.ACCEPTED, ("send", "start_l")),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, ("send", "start_g_h")),
    (S.PROCEEDING, I.REFUSAL): (S.TERMINATED, ("send", "end", "drop")),
    (S.PROCEEDING, I.CANCEL): (S.PROCEEDING, ("tell_cancel",)),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, ("send_again",)),
    (S.COMPLETED, I.TIMER_G): (S.COMPLETED, ("send_again", "restart_g")),
    (S.COMPLETED, I.ACK): (S.CONFIRMED, ("start_i",)),
    (S.COMPLETED, I.TIMER_H): (S.TERMINATED, ("end",)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end",)),
    (S.CONFIRMED, I.ACK): (S.CONFIRMED, ()),
    (S.CONFIRMED, I.TIMER_I): (S.TERMINATED, ("end",)),
    (S.ACCEPTED, I.REQUEST): (S.ACCEPTED, ()),
    (S.ACCEPTED, I.SUCCESS): (S.ACCEPTED, ("send",)),
    (S.ACCEPTED, I.TIMER_2XX): (S.ACCEPTED, ("send_again", "restart_2xx")),
    (S.ACCEPTED, I.ACK): (S.ACKNOWLEDGED, ("tell_ack",)),
    (S.ACCEPTED, I.TRANSPORT_ERROR): (S.ACCEPTED, ("report_error",)),
    (S.ACCEPTED, I.TIMER_L): (S.TERMINATED, ("end", "tell_no_ack")),
    (S.ACKNOWLEDGED, I.REQUEST): (S.ACKNOWLEDGED, ()),
    (S.ACKNOWLEDGED, I.ACK): (S.ACKNOWLEDGED, ()),
    (S.ACKNOWLEDGED, I.TIMER_L): (S.TERMINATED, ("end",)),
}

# Figure 8.
SERVER: Table = {
    (S.TRYING, I.REQUEST): (S.TRYING, ()),
    (S.TRYING, I.PROVISIONAL): (S.PROCEEDING, ("send",)),
    (S.TRYING, I.FINAL): (S.COMPLETED, ("send", "start_j")),
    (S.TRYING, I.REFUSAL): (S.TERMINATED, ("send", "end", "drop")),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, ("send_again",)),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, ("send",)),
    (S.PROCEEDING, I.FINAL): (S.COMPLETED, ("send", "start_j")),
    (S.PROCEEDING, I.REFUSAL): (S.TERMINATED, ("send", "end", "drop")),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, ("send_again",)),
    (S.COMPLETED, I.TIMER_J): (S.TERMINATED, ("end",)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end",)),
}

# Figure 5, as replaced by RFC 6026 section 8.4.
INVITE_CLIENT: Table = {
    (S.CALLING, I.TIMER_A): (S.CALLING, ("send_again", "restart_a")),
    (S.CALLING, I.CANCEL): (S.ABANDONED, ()),
    (S.CALLING, I.PROVISIONAL): (S.PROCEEDING, ("pass_provisional",)),
    (S.CALLING, I.SUCCESS): (S.ACCEPTED, ("start_m", "pass_success")),
    (S.CALLING, I.FAILURE): (S.COMPLETED, ("send_ack", "start_d", "pass_final")),
    (S.CALLING, I.TIMER_B): (S.TERMINATED, ("end", "tell_timeout")),
    (S.CALLING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.ABANDONED, I.TIMER_A): (S.ABANDONED, ("send_again", "restart_a")),
    (S.ABANDONED, I.PROVISIONAL): (S.CANCELLED, ("send_cancel", "pass_provisional")),
    (S.ABANDONED, I.SUCCESS): (S.ACCEPTED, ("start_m", "pass_success")),
    (S.ABANDONED, I.FAILURE): (S.COMPLETED, ("send_ack", "start_d", "pass_final")),
    (S.ABANDONED, I.TIMER_B): (S.TERMINATED, ("end", "tell_timeout")),
    (S.ABANDONED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.PROCEEDING, I.CANCEL): (S.CANCELLED, ("send_cancel",)),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, ("pass_provisional",)),
    (S.PROCEEDING, I.SUCCESS): (S.ACCEPTED, ("start_m", "pass_success")),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, ("send_ack", "start_d", "pass_final")),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.CANCELLED, I.PROVISIONAL): (S.CANCELLED, ("pass_provisional",)),
    (S.CANCELLED, I.SUCCESS): (S.ACCEPTED, ("start_m", "pass_success")),
    (S.CANCELLED, I.FAILURE): (S.COMPLETED, ("send_ack", "start_d", "pass_final")),
    (S.CANCELLED, I.TIMER_CANCEL): (S.TERMINATED, ("end", "tell_timeout")),
    (S.CANCELLED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.COMPLETED, I.FAILURE): (S.COMPLETED, ("send_again",)),
    (S.COMPLETED, I.TIMER_D): (S.TERMINATED, ("end",)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end",)),
    (S.ACCEPTED, I.SUCCESS): (S.ACCEPTED, ("pass_success",)),
    (S.ACCEPTED, I.TIMER_M): (S.TERMINATED, ("end",)),
}

# Figure 6.
CLIENT: Table = {
    (S.TRYING, I.TIMER_E): (S.TRYING, ("send_again", "restart_e")),
    (S.TRYING, I.PROVISIONAL): (S.PROCEEDING, ("pass_provisional",)),
    (S.TRYING, I.FINAL): (S.COMPLETED, ("start_k", "pass_final")),
    (S.TRYING, I.TIMER_F): (S.TERMINATED, ("end", "tell_timeout")),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.PROCEEDING, I.TIMER_E): (S.PROCEEDING, ("send_again", "restart_e_t2")),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, ("pass_provisional",)),
    (S.PROCEEDING, I.FINAL): (S.COMPLETED, ("start_k", "pass_final")),
    (S.PROCEEDING, I.TIMER_F): (S.TERMINATED, ("end", "tell_timeout")),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, ("end", "tell_error")),
    (S.COMPLETED, I.FINAL): (S.COMPLETED, ()),
    (S.COMPLETED, I.TIMER_K): (S.TERMINATED, ("end",)),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, ("end",)),
}
