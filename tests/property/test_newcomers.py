"""Whatever calls come, however they spell their numbers and at whatever time: one contact a number, and none of
anything that is no number."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.numbers import normalise
from pbxcore import store as stores
from pbxcore.bus import Bus
from tests.unit.store.calls import answered, ended

DIGITS = [f"212555010{n}" for n in range(4)]
SPELLINGS = ("{0}", "1{0}", "+1{0}", "+1 ({0:.3}) {0}", "tel:+1{0}", "+1{0};ext=7")
JUNK = ("anonymous", "101", "911", "", "+", "555", "alice", "*21", "0000000000", "+999999999999999999")

callers = st.one_of(
    st.builds(
        lambda spelled, digits: spelled.replace("{0:.3}", digits[:3]).replace(
            "{0}", digits[3:] if "(" in spelled else digits
        ),
        st.sampled_from(SPELLINGS),
        st.sampled_from(DIGITS),
    ),
    st.sampled_from(JUNK),
    st.text(max_size=12),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(callers, st.booleans(), st.booleans()), max_size=30))
def test_one_contact_a_number(calls: list[tuple[str, bool, bool]]) -> None:
    asyncio.run(_play(calls))


async def _play(calls: list[tuple[str, bool, bool]]) -> None:
    """Each call: its caller, whether it is answered, whether the loop runs a while before the next."""
    with tempfile.TemporaryDirectory() as directory:
        store = stores.open(f"sqlite:///{directory}/office.db", serving=True)
        store.start()
        crm = EmbeddedCrm(store, Bus(), "US", enters=True)
        crm.load()
        for number, (caller, picked_up, pause) in enumerate(calls):
            if picked_up:
                crm.journal.write(answered(f"c{number}", caller=caller))
            if pause:
                await asyncio.sleep(0)
            crm.journal.write(ended(f"c{number}", caller=caller))
        assert crm.newcomers is not None
        while crm.newcomers._task is not None:
            await asyncio.gather(crm.newcomers._task)
        found = Counter(number for entry in await crm.contacts("", 200) for number in entry.numbers)
        wanted = {number.e164 for number in (normalise(caller, "US") for caller, _, _ in calls) if number is not None}
        assert found == Counter(wanted) or _alike(found, wanted)
        kept = {one.call_id: one.contact_id for one in await crm.activities(limit=100)}
        assert all(kept[f"c{n}"] is None for n, (caller, _, _) in enumerate(calls) if normalise(caller, "US") is None)
        await store.close()


def _alike(found: Counter[str], wanted: set[str]) -> bool:
    """Numbers that differ by their beginning only are one contact's, as for every look-up (`ContactIndex.find`)."""
    ends = {number[-7:] for number in wanted}
    return set(found) <= wanted and max(found.values(), default=1) == 1 and {n[-7:] for n in found} == ends
