"""The simulator: the real exchange among thousands of bad people, in virtual time, from one seed.

`python -m tests.scenario --seeds 1000` plays a thousand offices with sixty calls each and says what it did and what
was wrong; `--replay SEED` plays one again and prints its ladder. From the bottom up:

    clock        one heap of events; an asyncio event loop on it
    network      weather: loss, copies, delay, disorder, partitions, broken streams
    disk         the real store without its threads: stalls, a database that is gone, files after kill -9
    wire, transactions, session, agent      a phone of its own: it shares no code with the stack that is tested
    referral, early, timer, texts           parts of it: REFER, reliable provisionals, session timers, MESSAGE
    deeds           what people and phones do, good and bad: ADD BEHAVIOUR HERE, a few lines each, see its docstring;
                    more of them in strays, transfers, extensions, watching
    registrar       a carrier between calls: registrations and probes
    people       who calls whom, which deeds are drawn, who hangs up
    crm          a customer's CRM behind the real runner: quick, slow, wrong, dead
    building     the exchange put together as `pbxcore.app` does it, killed, and started again
    invariants   what must hold afterwards: a function each, found by its decorator
    run, report, cli      one seed; many of them

A message or a feature that the exchange learns needs a deed that uses it: `session.request("INFO")` in a function under
`@TALK.deed(2)`. What a phone does with a new request of the exchange is a branch in `Session.requested`, what must then
hold a function in `invariants`. A long run is kept with `--report FILE.json` (and `--report FILE.md` for people), and
gone on with by `--resume FILE.json`.
"""
