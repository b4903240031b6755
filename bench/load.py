"""The load: an open-loop caller and the phone that answers, in one process of its own (`python -m bench.load`).

Messages are templates with a few places filled in, answered by looking at a few bytes, so that the generator costs a
fraction of what it measures. Arrivals follow the clock whether the server keeps up or not. It sleeps between events as
real phones do (a sender pays for waking a sleeping reader: a load that spins would flatter the server), but to the
microsecond: epoll's milliseconds would add half of one to every latency at low rates. While no call is up, and the
server has nothing to say to it, it stays awake for the last moment before a call, which so leaves when it was meant to:
a processor that has slept for milliseconds takes a tenth of one to wake.

When it is ready it prints one line and waits for one; then it runs and prints the figures as JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import select
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench import machine, raw, wire
from bench.audio import Audio
from bench.callee import Callee
from bench.caller import Caller
from bench.options import Figures, Options

READY = "loaded"
PR_SET_TIMERSLACK = 29
LONGEST = 1.0               # seconds of one sleep
AWAKE = 0.0003              # seconds before a call in which it does not sleep when nobody has anything to send it


class Load:
    """Caller, callee and their audio on one select."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.figures = Figures()
        self.rows = wire.Rows()
        self.audio = Audio(options.caller, options.callee) if options.audio else None
        self.caller = Caller(options, self.figures, self.rows, self.audio)
        self.callee = Callee(options, self.figures, self.rows, self.audio)
        self._sockets = [self.caller.socket, self.callee.socket, *(self.audio.sockets if self.audio else ())]
        self._drops = [machine.socket_drops(sock) for sock in self._sockets]

    def run(self) -> Figures:
        """Offer the load, wait for the last call, listen a moment longer, give the figures."""
        options, figures, caller = self.options, self.figures, self.caller
        clock = time.perf_counter
        total = max(1, round(options.rate * (options.seconds + options.warm_up)))
        warm = min(total - 1, round(options.rate * options.warm_up))
        start = self._start = clock() + 0.05
        made, meant, over = 0, start, float("inf")
        last = float("inf") if options.patience is None else start + total / options.rate + options.patience
        while (now := clock()) < over:
            while made < total and meant <= now:
                if made == warm:
                    self._begin_counting(meant)
                caller.place(meant, now, made >= warm)
                if made >= warm:
                    figures.late_ms.append((now - meant) * 1000)
                made += 1
                meant = start + made / options.rate
                now = clock()
            if made == total:
                meant = float("inf")
                if now >= last:
                    caller.give_up(now)
                    last = float("inf")
                if not caller.live and over == float("inf"):
                    over = clock() + options.settle
            self._turn(min(meant, over, last), clock())
        self._finish(total, total - warm)
        return figures

    def _turn(self, until: float, now: float) -> None:
        """Whatever is due, then whatever has arrived by `until`."""
        self.rows.fire(now)
        audio = self.audio
        wake = min(until, self.rows.next_at())
        if audio is not None:
            audio.send(now)
            wake = min(wake, audio.next_at())
        awake = 0.0 if self.caller.live else AWAKE
        patience = min(max(0.0, wake - awake - time.perf_counter()), LONGEST)
        ready = select.select(self._sockets, (), (), patience)[0]
        for sock in ready:
            if sock is self.caller.socket:
                self.caller.read()
            elif sock is self.callee.socket:
                self.callee.read(time.perf_counter())
            elif audio is not None:
                audio.read(sock)

    def _begin_counting(self, meant: float) -> None:
        self._counted_from = meant
        self._cpu = time.process_time()
        self.figures.watched_cpu = {str(pid): machine.cpu_seconds(pid) for pid in self.options.watch}

    def keep_raw(self) -> None:
        """Add what became of each call to the file of the options, if they name one."""
        options = self.options
        if options.raw:
            began = time.time() - (time.perf_counter() - self._start)
            with Path(options.raw).open("a", encoding="utf-8") as file:
                for line in raw.lines(self.caller.calls, server=options.name, began=began, start=self._start):
                    file.write(line + "\n")

    def _finish(self, total: int, counted: int) -> None:
        figures = self.figures
        figures.cpu_seconds = time.process_time() - self._cpu
        figures.offered, figures.counted = total, counted
        figures.counted_seconds = max(self.options.seconds, self.caller.last_end - self._counted_from)
        figures.dropped = sum(machine.socket_drops(sock) for sock in self._sockets) - sum(self._drops)
        self.callee.close()
        if self.audio is not None:
            figures.audio = self.audio.figures()


def main(argv: list[str]) -> int:
    """Run the load that the arguments (JSON of Options) describe and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("options", help="JSON object of options")
    parser.add_argument("--cpu", type=int, help="run on this CPU alone")
    arguments = parser.parse_args(argv)
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)     # else select wakes 50 microseconds late
    load = Load(Options.from_json(json.loads(arguments.options)))
    load.callee.register()
    print(READY, flush=True)
    sys.stdin.readline()
    gc.collect()
    gc.freeze()
    gc.disable()        # a pause of ours would count as the server's
    print(json.dumps(asdict(load.run())))
    load.keep_raw()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
