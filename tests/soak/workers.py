"""The workers, and a tiny supervisor that starts again whoever is gone."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.soak.ledger import Ledger

WORKERS = 2
DRAIN_S = 10.0
#: Lines of a worker's log that say that it holds a job and got on with it.
_PROGRESS = re.compile(
    r" job \d+ (?:created|adopted|session_opened|session_resumed|stored|validating|ready):"
)
_SECRETS = re.compile(r"fw_sandbox_|upload_id=|X-Goog-Signature=")
_PAUSES_S = (0.0, 0.2, 1.0, 3.0)
_CHUNKS = ("256KiB", "1MiB", "8MiB", "256MiB")
#: Throttled, a worker mostly waits between two blocks; unthrottled it is killed within one.
_BANDWIDTHS = ("8MiB/s", "24MiB/s", "off")


class Worker:
    """The place of one worker: a process, or the gap until the next one."""

    def __init__(
        self, number: int, dice: random.Random, environment: Mapping[str, str], log: IO[str]
    ) -> None:
        self.number = number
        self.dice = dice
        self.process: subprocess.Popen[str] | None = None
        self.start_at = 0.0
        #: The exit codes that its end may have.
        self.expected: tuple[int, ...] = ()
        #: When it last told of progress.
        self.progress_at = 0.0
        self._environment = dict(environment)
        self._log = log
        self._reader: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, ledger: Ledger) -> None:
        self.expected = ()
        chosen = {
            "UPLOADER_TRANSFER__CHUNK_SIZE": self.dice.choice(_CHUNKS),
            "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": self.dice.choice(_BANDWIDTHS),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uploader", "run"],
            env=self._environment | chosen,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C is for the soak, which then ends its workers itself
        )
        self._reader = threading.Thread(target=self._read, args=(self.process, ledger), daemon=True)
        self._reader.start()

    def signal(self, number: int, *expected: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.expected = expected or self.expected
            self.process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM: it drains; if it was starting up, it just ends; if it was draining, it exits."""
        self.signal(signal.SIGTERM, 0, -signal.SIGTERM, 128 + signal.SIGTERM)

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit code, its log read to the end. Raises subprocess.TimeoutExpired."""
        code = self.process.wait(timeout_s) if self.process else 0
        if self._reader is not None:
            self._reader.join()
        return code

    def _read(self, process: subprocess.Popen[str], ledger: Ledger) -> None:
        """Its log, as it comes: progress, and what must not be there."""
        for line in process.stderr or ():
            if _PROGRESS.search(line):
                self.progress_at = time.monotonic()
            if "Traceback" in line or "unexpected error" in line:
                ledger.broken.append(f"worker {self.number} met a bug: {line.strip()}")
            if _SECRETS.search(line):
                ledger.broken.append(f"worker {self.number} logged a secret")
            self._log.write(f"{self.number} {line}")
        if process.stderr:
            process.stderr.close()


class Workers:
    """Two workers on one state folder. Ends with `close`, whatever state they are in."""

    def __init__(
        self, folder: Path, seed: int, environment: Mapping[str, str], ledger: Ledger
    ) -> None:
        self._log = (folder / "workers.log").open("a", buffering=1)
        self._ledger = ledger
        self.all = [
            Worker(number, random.Random(f"soak {seed} worker {number}"), environment, self._log)
            for number in range(1, WORKERS + 1)
        ]
        self._nobody_since: float | None = None

    @property
    def live(self) -> list[Worker]:
        return [worker for worker in self.all if worker.alive]

    def tend(self) -> None:
        """Start again whoever is gone, at once or after a pause that the dice choose."""
        now = time.monotonic()
        for worker in self.all:
            if worker.process is not None and not worker.alive:
                self._bury(worker, now + worker.dice.choice(_PAUSES_S))
            if worker.process is None and now >= worker.start_at:
                worker.start(self._ledger)
        self._count_nobody(now)

    def kill(self, worker: Worker) -> None:
        """SIGKILL, and the process is gone."""
        worker.signal(signal.SIGKILL, -signal.SIGKILL)
        worker.wait()
        self._ledger.kills += 1

    def last_progress(self) -> float:
        return max(worker.progress_at for worker in self.all)

    def drain(self) -> None:
        """SIGTERM for all, and nobody starts again; who takes too long breaks a promise."""
        began = time.monotonic()
        for worker in self.live:
            worker.signal(signal.SIGCONT)
            worker.terminate()
        for worker in self.live:
            try:
                worker.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                self._ledger.broken.append(f"worker {worker.number} did not drain in {DRAIN_S} s")
        self._ledger.longest_drain_s = time.monotonic() - began

    def close(self) -> None:
        for worker in self.all:
            if worker.process is not None:
                worker.process.kill()
                worker.wait()
        self._log.close()

    def _bury(self, worker: Worker, start_at: float) -> None:
        process, worker.process, worker.start_at = worker.process, None, start_at
        code = process.returncode if process else None
        if code not in worker.expected:
            self._ledger.broken.append(f"worker {worker.number} ended by itself with {code}")

    def _count_nobody(self, now: float) -> None:
        if self.live:
            self._nobody_since = None
            return
        self._nobody_since = self._nobody_since or now
        gap = now - self._nobody_since
        self._ledger.longest_without_worker_s = max(self._ledger.longest_without_worker_s, gap)
