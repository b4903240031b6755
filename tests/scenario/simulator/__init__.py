"""The simulator: the real exchange among thousands of bad people, in virtual time, from one seed.

`python -m tests.scenario --seeds 1000` plays a thousand offices with sixty calls each and says what it did and what
was wrong; `--replay SEED` plays one again and prints its ladder. From the bottom up:

    clock        one heap of events; an asyncio event loop on it
    network      weather: loss, copies, delay, disorder, partitions, broken streams
    disk         the real store without its threads: stalls, a database that is gone, files after kill -9
    wire, transactions, session, agent      a phone of its own: it shares no code with the stack that is tested
    deeds, strays   what people and phones do, good and bad: ADD BEHAVIOUR HERE, a few lines each, see its docstring
    people       who calls whom, which deeds are drawn, who hangs up
    crm          a customer's CRM behind the real runner: quick, slow, wrong, dead
    building     the exchange put together as `pbxcore.app` does it, killed, and started again
    invariants   what must hold afterwards: a function each, found by its decorator
    run, cli     one seed; many of them

A message or a feature that the exchange learns (transfer, PRACK, session timers, subscriptions) needs a deed that uses
it: `session.request("REFER", extra="Refer-To: <sip:103@127.0.0.1>\\r\\n")` in a function under `@TALK.deed(2)`. What a
phone does with a new request of the exchange is a branch in `Session.requested`, what must then hold a function in
`invariants`.
"""
