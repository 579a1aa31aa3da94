"""`make soak`: real processes over sockets, killed, cut off and lied to for minutes on end.

Rounds of a few jobs each are uploaded by two workers on one state folder while the disturbances of
the round last. Everything left to chance comes from the seed. What is promised is checked
against the sandbox's own counts and byte for byte; one broken promise, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.disturbances import Disturbances
from tests.soak.ledger import Ledger
from tests.soak.plan import MIB, ModelPlan, Planner, RoundPlan
from tests.soak.stage import Stage, set_up
from tests.soak.workers import Workers

_TICK_S = 0.05
_LOOK_EVERY_S = 8.0
#: Once nothing disturbs them any more all jobs have to be done within this time.
_CALM_S = 180.0
#: Exit codes of a verb: done, or illegal by now (the job has moved on).
_VERB_CODES = (0, 5)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@dataclass
class Job:
    number: int
    plan: ModelPlan
    source: Path
    done: bool = False


class Recovery:
    """From the first start after nobody lived to the first progress of anybody."""

    def __init__(self, stage: Stage, workers: Workers, disturbances: Disturbances) -> None:
        self._stage, self._workers, self._disturbances = stage, workers, disturbances
        self._nobody = True
        self._since: float | None = None
        self._received = 0

    def watch(self, ledger: Ledger, *, work: bool) -> None:
        """Call it often; ``work`` says whether there is anything to go on with."""
        now, live = time.monotonic(), bool(self._workers.live)
        if not live or not work or self._disturbances.lasting:
            self._since = None
        elif self._nobody:
            self._since, self._received = now, self._stage.received()
        elif self._since is not None and self._progressed(self._since):
            ledger.recoveries_s.append(now - self._since)
            self._since = None
        self._nobody = not live

    def _progressed(self, since: float) -> bool:
        told = self._workers.last_progress() > since
        return told or self._stage.received() > self._received


class Soak:
    """One run; `ledger` are what it saw."""

    def __init__(self, stage: Stage, seed: int, largest: int) -> None:
        self.ledger = Ledger()
        self.stage = stage
        self.workers = Workers(stage.folder, seed, stage.environment, self.ledger)
        self._dice = Planner(seed, largest)
        self._disturbances = Disturbances(seed, self.workers, stage.proxies, self._verb)
        self._recovery = Recovery(stage, self.workers, self._disturbances)
        self._pause = threading.Event()
        self._jobs: list[Job] = []
        stage.meanwhile = self._attend
        self._looked_at = 0.0

    def run(self, seconds: float, tell_every_s: float) -> None:
        """Rounds until the time is over; then the last one has to end well."""
        began = time.monotonic()
        self._tell_at, self._tell_every_s, self._began = began + tell_every_s, tell_every_s, began
        while time.monotonic() < began + seconds and not self.ledger.broken:
            self._round(self._dice.round(), began + seconds)
        self.workers.drain()
        self.ledger.judge(self.stage.box)

    # -- a round -----------------------------------------------------------------------------

    def _round(self, plan: RoundPlan, ends_at: float) -> None:
        self._disturbances.clear()
        self._disturbances.kind = plan.disturbances
        self.stage.prepare(plan)
        self._jobs, kills = [], self.ledger.kills
        self.ledger.rounds[plan.url_kind] += 1
        for model in plan.models:
            if not self._jobs or time.monotonic() < ends_at:
                self._enqueue(model)
                self._storm_on(plan)
        while self._open() and time.monotonic() < ends_at:
            self._storm_on(plan)
        if self._open():
            self._end_calmly(plan)
        if plan.disturbances == "kills":
            self.ledger.alone.kills += self.ledger.kills - kills

    def _storm_on(self, plan: RoundPlan) -> None:
        self._disturbances.tend(self.ledger, [job.number for job in self._open()])
        self._tick(plan)

    def _enqueue(self, model: ModelPlan) -> None:
        source = self.stage.folder / "models" / model.model_id
        source.parent.mkdir(exist_ok=True)
        model.write(source)
        done = self.stage.uploader("enqueue", source)
        if done.returncode:
            raise AssertionError(f"uploader enqueue ended with {done.returncode}: {done.stderr}")
        self._jobs.append(Job(int(done.stdout), model, source))
        self.ledger.jobs_enqueued += 1

    def _end_calmly(self, plan: RoundPlan) -> None:
        """No more trouble: whatever is open now has no excuse."""
        self._disturbances.clear()
        self.stage.calm()
        give_up_at = time.monotonic() + _CALM_S
        while self._open() and time.monotonic() < give_up_at and not self.ledger.broken:
            self._tick(plan)
        for job in self._open():
            self._break(job, f"job {job.number} is not done after {_CALM_S:.0f} s of calm")

    def _open(self) -> list[Job]:
        return [job for job in self._jobs if not job.done]

    def _tick(self, plan: RoundPlan) -> None:
        self._pause.wait(_TICK_S)
        self._attend()
        now = time.monotonic()
        if now >= self._looked_at + (1.0 if self._all_ready() else _LOOK_EVERY_S):
            self._look(plan)
            self._looked_at = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + self._tell_every_s
            faults = len(self.stage.faults.fired)
            say(f"{now - self._began:5.0f} s, round {plan.number}: {self.ledger.line(faults)}")

    def _attend(self) -> None:
        """What cannot wait, not even for a command of ours."""
        self.workers.tend()
        self._recovery.watch(self.ledger, work=not self._all_ready())

    def _all_ready(self) -> bool:
        return all(self.stage.ready(job.plan.model_id) for job in self._open())

    # -- what the product says ---------------------------------------------------------------

    def _look(self, plan: RoundPlan) -> None:
        """The job table against the sandbox: nothing further along, nothing failed."""
        shown = self.stage.jobs()
        self.ledger.looks += 1
        for job in self._open():
            row = shown[job.number]
            self._check_claims(plan, job, row["bytes_confirmed"], row["status"])
            if row["status"] == "done":
                job.done = True
                model = self.stage.box.world.models[self.stage.box.account_id, job.plan.model_id]
                wasted = self.stage.faults.wasted
                self.ledger.settle(self.stage.box, plan, model, job.source, wasted)
            elif row["status"] in ("failed", "blocked", "cancelled"):
                job.done = True
                self._break(job, f"job {job.number} is {row['status']}: {row['reason']}")

    def _check_claims(self, plan: RoundPlan, job: Job, confirmed: int, status: str) -> None:
        """Read after the table was: the sandbox can only be further along by now."""
        early = status == "done" and not self.stage.ready(job.plan.model_id)
        # A fault that makes the sandbox forget bytes leaves the table ahead until the next query.
        told_back = plan.disturbances in ("faults", "storm")
        if early or (confirmed > self.stage.confirmed(job.plan.model_id) and not told_back):
            self.ledger.claims_beyond += 1
            self._break(job, f"job {job.number} is shown further along than it is")

    def _verb(self, verb: str, job: int) -> None:
        done = self.stage.uploader(verb, job)
        if done.returncode not in _VERB_CODES:
            said = f"`uploader {verb}` ended with {done.returncode}: {done.stderr.strip()}"
            self.ledger.broken.append(said)

    def _break(self, job: Job, what: str) -> None:
        self.ledger.broken.append(what)
        history = self.stage.uploader("logs", job.number).stdout.splitlines()
        for line in history[-20:]:
            say(f"  | {line}")


# -- the command line ----------------------------------------------------------------------------


def main(words: list[str] | None = None) -> int:
    """0 if every promise was kept, 1 if one was broken, 130 if somebody ended it."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two lines")
    parser.add_argument("--largest", type=int, default=64, help="the largest file, in MiB")
    parser.add_argument("--tls", action="store_true", help="nothing travels in clear")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it behind")
    options = parser.parse_args(words)
    say(f"soak: {options.minutes:g} minutes, seed {options.seed}")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            _folder(options.keep) as folder,
            set_up(folder, options.seed, tls=options.tls) as stage,
        ):
            return _soak(stage, options)
    except KeyboardInterrupt:
        say("ended by a signal; nothing was judged")
        return 128 + signal.SIGINT
    finally:
        signal.signal(signal.SIGTERM, before)


def _soak(stage: Stage, options: argparse.Namespace) -> int:
    soak = Soak(stage, options.seed, options.largest * MIB)
    began = time.monotonic()
    try:
        soak.run(options.minutes * 60, options.every)
    finally:
        soak.workers.close()
    ledger = soak.ledger
    say(f"\n{time.monotonic() - began:.0f} s, seed {options.seed}")
    for line in ledger.table(stage.box, stage.faults.fired):
        say(line)
    say(f"  {'longest command':34}{stage.longest_command_s:.1f} s")
    say(f"  {'load of the machine':34}{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for what in ledger.broken:
        say(f"broken: {what}")
    replay = f"make soak MINUTES={options.minutes:g} SEED={options.seed}"
    say(f"replay: {replay}" if ledger.broken else f"every promise was kept ({replay})")
    return 1 if ledger.broken else 0


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="uploader-soak-") as scratch:
        yield Path(scratch)


if __name__ == "__main__":
    sys.exit(main())
