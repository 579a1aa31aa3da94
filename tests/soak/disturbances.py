"""What befalls the workers and their network, by the seed: kills, cuts, nights, verbs.

Each trouble takes as many of the dice's numbers wherever it meets the processes, so that a seed
means the same sequence of troubles; only their effect is the processes' own.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence

from tests.soak.ledger import Ledger
from tests.soak.plan import KIB
from tests.soak.proxy import Proxy
from tests.soak.workers import Workers

_MEAN_PAUSE_S = 1.2
_NETWORK, _FROZEN = "network", "frozen"
#: What may happen, and how often compared with the others.
_KILLS = {"kill": 6, "kill_all": 3}
_ON_NETWORK = {"cut": 4, "hold": 2, "night": 2, "slow": 1}
_ON_JOBS = {"pause": 1, "retry": 1, "drain": 1, "freeze": 1}
_MENUS = {
    "kills": _KILLS,
    "network": _KILLS | _ON_NETWORK,
    "faults": _KILLS | _ON_JOBS,
    "storm": _KILLS | _ON_NETWORK | _ON_JOBS,
}

Verb = Callable[[str, int], None]


class Disturbances:
    """One trouble after another; those that last are undone by `tend` when their time is up."""

    def __init__(self, seed: int, workers: Workers, proxies: Sequence[Proxy], verb: Verb) -> None:
        self.kind = "kills"
        self._dice = random.Random(f"soak {seed} weather")
        self._workers = workers
        self._proxies = proxies
        self._verb = verb
        #: What lasts, by what it is about: when it ends, and how.
        self._lasting: dict[str, tuple[float, Callable[[], None]]] = {}
        self._next_at = 0.0
        #: Workers and jobs that were stopped so far.
        self._stopped = 0

    @property
    def lasting(self) -> bool:
        return bool(self._lasting)

    def tend(self, ledger: Ledger, jobs: Collection[int]) -> None:
        """The next trouble if it is due; ``jobs`` are those that are not done."""
        now = time.monotonic()
        for what, (ends_at, undo) in list(self._lasting.items()):
            if now >= ends_at:
                self._end(what, undo)
        if now >= self._next_at:
            self._next_at = now + self._dice.expovariate(1 / _MEAN_PAUSE_S)
            self._strike(ledger, sorted(jobs))

    def clear(self) -> None:
        """Everything that lasts ends now."""
        for what, (_, undo) in list(self._lasting.items()):
            self._end(what, undo)

    def _end(self, what: str, undo: Callable[[], None]) -> None:
        del self._lasting[what]
        undo()

    def _strike(self, ledger: Ledger, jobs: list[int]) -> None:
        menu = _MENUS[self.kind]
        trouble = self._dice.choices(list(menu), list(menu.values()))[0]
        which = self._dice.random()
        if trouble in _KILLS:
            self._kill(which, everyone=trouble == "kill_all")
        elif trouble in _ON_NETWORK:
            self._trouble_network(ledger, trouble)
        elif trouble in ("drain", "freeze"):
            self._trouble_worker(ledger, trouble, which)
        elif jobs:
            self._trouble_job(ledger, trouble, jobs[int(which * len(jobs))])

    def _kill(self, which: float, *, everyone: bool) -> None:
        live = self._workers.live
        chosen = int(which * len(live))
        for worker in live if everyone else live[chosen : chosen + 1]:
            self._workers.kill(worker)
            self._stopped += 1

    def _trouble_network(self, ledger: Ledger, trouble: str) -> None:
        lasts_s, reset = self._dice.uniform(1.0, 8.0), self._dice.random() < 0.5
        pace_bps = self._dice.choice((64, 512, 2048)) * KIB
        if _NETWORK in self._lasting:
            return
        ledger.events[_NAMES[trouble]] += 1
        if trouble == "cut":
            _each(self._proxies, lambda proxy: proxy.cut(reset=reset))
        elif trouble == "night":
            _each(self._proxies, lambda proxy: proxy.refuse())
            self._last(
                _NETWORK, lasts_s, lambda: _each(self._proxies, lambda proxy: proxy.reopen())
            )
        elif trouble == "hold":
            _each(self._proxies, lambda proxy: proxy.flowing.clear())
            before = self._stopped
            self._last(
                _NETWORK, lasts_s, lambda: self._release(cut=reset or self._stopped > before)
            )
        else:
            _pace(self._proxies, pace_bps)
            self._last(_NETWORK, lasts_s, lambda: _pace(self._proxies, 0))

    def _release(self, *, cut: bool) -> None:
        """Go on, or lose everything that was held back.

        Lose it if somebody was stopped meanwhile: a request of the dead would reach the server
        after their successors had asked where to go on, and count as bytes sent again. Networks
        can do that and no client can prevent it, so it is not measured here.
        """
        for proxy in self._proxies:
            if cut:
                proxy.cut(reset=True)
            proxy.flowing.set()

    def _trouble_worker(self, ledger: Ledger, trouble: str, which: float) -> None:
        lasts_s, live = self._dice.uniform(1.0, 5.0), self._workers.live
        if not live or _FROZEN in self._lasting:
            return
        ledger.events[_NAMES[trouble]] += 1
        worker = live[int(which * len(live))]
        self._stopped += 1
        if trouble == "drain":
            worker.terminate()
        else:
            worker.signal(signal.SIGSTOP)
            # Frozen within a transaction it holds up everybody, us too: `tend` would come late.
            thaw = threading.Timer(lasts_s, worker.signal, [signal.SIGCONT])
            thaw.daemon = True
            thaw.start()
            self._last(_FROZEN, lasts_s, lambda: worker.signal(signal.SIGCONT))

    def _trouble_job(self, ledger: Ledger, trouble: str, job: int) -> None:
        lasts_s = self._dice.uniform(0.2, 4.0)
        name = f"job {job}"
        if name in self._lasting:
            return
        ledger.events[_NAMES[trouble]] += 1
        self._stopped += 1
        self._verb(trouble, job)
        if trouble == "pause":
            self._last(name, lasts_s, lambda: self._verb("resume", job))

    def _last(self, what: str, lasts_s: float, undo: Callable[[], None]) -> None:
        self._lasting[what] = (time.monotonic() + lasts_s, undo)


_NAMES = {
    "cut": "network cuts",
    "hold": "network stalls",
    "night": "nights without network",
    "slow": "slow spells",
    "drain": "workers drained",
    "freeze": "workers frozen",
    "pause": "jobs paused and resumed",
    "retry": "jobs retried by a user",
}


def _each(proxies: Sequence[Proxy], act: Callable[[Proxy], object]) -> None:
    for proxy in proxies:
        act(proxy)


def _pace(proxies: Sequence[Proxy], pace_bps: int) -> None:
    for proxy in proxies:
        proxy.pace_bps = pace_bps
