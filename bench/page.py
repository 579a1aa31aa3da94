"""What the API and an open page cost: `python -m bench.page`. Linux only: it reads /proc.

Three figures: how long an answer takes with 10 000 finished jobs; what a page that is open costs
the daemon if nothing moves; how much longer 100 jobs take if a page is open. The page is stood in
for by the requests that it makes: one stream of events, and the overview once a second while jobs
move, else every five seconds (uploader/service/http/page/app.js).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FINISHED = 10_000
OPEN = 100
ROUNDS = 2
FILE_BYTES = 6 * 2**20
BANDWIDTH = "20MB/s"
IDLE_S = 20.0
_OVERVIEW = "/api/jobs?finished=20&limit=1000"
_ASKED = (_OVERVIEW, "/api/jobs?limit=100", "/api/jobs?after=9000", "/api/jobs/9000",
          "/api/events?since=0&wait=0", "/metrics")  # fmt: skip
UPLOADER = (sys.executable, "-m", "uploader")


class Bench:
    """A state folder, and a sandbox of its own."""

    def __init__(self, folder: Path, sandbox: dict[str, Any]) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.round = 0
        self.environment = {
            **os.environ,
            "UPLOADER_STATE_DIR": str(self.state),
            "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": BANDWIDTH,
            "UPLOADER_VALIDATION__POLL_INTERVAL": "200ms",
            "FIREWORKS_BASE_URL": sandbox["base_url"],
            "FIREWORKS_API_KEY": sandbox["api_key"],
            "FIREWORKS_ACCOUNT_ID": "sandbox",
        }

    def run(self, *words: object) -> None:
        """A command, to its end."""
        command = [*UPLOADER, *map(str, words)]
        subprocess.run(
            command,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def enqueue(self, count: int, of_bytes: int) -> None:
        """So many jobs, each with a file of so many bytes."""
        folders = []
        for number in range(count):
            model = self.folder / f"{self.round}-m{number}"
            if not model.exists():
                model.mkdir()
                (model / "config.json").write_text("{}")
                (model / "a.bin").write_bytes(os.urandom(of_bytes))
            folders.append(model)
        self.run("enqueue", "--no-preflight", "--kind", "base", *folders)

    @contextlib.contextmanager
    def daemon(self, *words: str) -> Iterator[int]:
        """A process that listens; its id."""
        with (
            (self.folder / "log").open("a") as log,
            subprocess.Popen([*UPLOADER, *words], env=self.environment, stderr=log) as process,
        ):
            try:
                until((self.state / "api.address").exists)
                yield process.pid
            finally:
                process.send_signal(signal.SIGTERM)

    def ask(self, path: str) -> bytes:
        """One answer, read to its end."""
        connection = self.connect(path)
        with connection.getresponse() as answer:
            assert answer.status == http.client.OK, answer.status
            return answer.read()

    def connect(self, path: str, accept: str = "application/json") -> http.client.HTTPConnection:
        """A connection with a request on it."""
        address = (self.state / "api.address").read_text().strip()
        token = (self.state / "api.token").read_text().strip()
        connection = http.client.HTTPConnection(address, timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Accept": accept}
        connection.request("GET", path, headers=headers)
        return connection

    @contextlib.contextmanager
    def page(self, every_s: float) -> Iterator[None]:
        """A page that is open, and asks every so many seconds."""
        closed = threading.Event()
        stream = self.connect("/api/events?since=0", "text/event-stream").getresponse()

        def look() -> None:
            while not closed.wait(every_s):
                self.ask(_OVERVIEW)

        def follow() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                while stream.readline():
                    pass

        threads = [threading.Thread(target=one, daemon=True) for one in (look, follow)]
        for thread in threads:
            thread.start()
        yield
        closed.set()
        threads[0].join()


def until(reached: Callable[[], object], deadline_s: float = 300.0) -> None:
    """Wait on a condition."""
    give_up = time.monotonic() + deadline_s
    while not reached():
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(0.02)


def cpu_s(pid: int) -> float:
    """The seconds of a core that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answers(bench: Bench) -> None:
    """How long each answer takes with many finished jobs."""
    finish(bench)
    with bench.daemon("serve", "--listen", "127.0.0.1:0"):
        for path in _ASKED:
            bench.ask(path)
            took = [timed(lambda path=path: bench.ask(path)) for _ in range(20)]  # type: ignore[misc]
            print(
                f"{path:35} median {statistics.median(took):6.1f} ms, at most {max(took):6.1f} ms"
            )


def finish(bench: Bench, jobs: int = FINISHED) -> None:
    """So many finished jobs in a table that has none."""
    bench.enqueue(1, 1000)
    with contextlib.closing(sqlite3.connect(bench.state / "uploader.db")) as database:
        database.execute("UPDATE jobs SET stage = 'ready', status = 'done', ready_at = updated_at")
        for table, key in (("jobs", "id"), ("files", "job_id"), ("events", "job_id")):
            multiply(database, table, key, jobs)
        database.commit()


def timed(act: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    begun = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begun)


def multiply(database: sqlite3.Connection, table: str, key: str, jobs: int = FINISHED) -> None:
    """Give the rows of job 1 to more jobs, until there are so many."""
    own = {key, "seq"} | ({"id"} if table == "files" else set())
    names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    kept = [name for name in names if name not in own]
    unlike = {"model": "'accounts/sandbox/models/m' || n", "folder_key": "folder_key || n"}
    shown = [unlike.get(name, name) if table == "jobs" else name for name in kept]
    database.execute(
        f"WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < {jobs})"
        f" INSERT INTO {table} ({key}, {', '.join(kept)})"
        f" SELECT n, {', '.join(shown)} FROM c, {table} WHERE {key} = 1"
    )


def idle(bench: Bench) -> None:
    """What an open page costs if nothing moves."""
    bench.enqueue(OPEN, FILE_BYTES)
    bench.run("pause", "--all")
    with bench.daemon("run", "--listen", "127.0.0.1:0") as pid:
        for every_s in (None, 5.0):
            bench.ask(_OVERVIEW)
            with bench.page(every_s) if every_s else contextlib.nullcontext():
                before = cpu_s(pid)
                time.sleep(IDLE_S)
                used = 100 * (cpu_s(pid) - before) / IDLE_S
            print(f"{'a page is open' if every_s else 'nobody looks':15} {used:5.2f} % of a core")


def moving(bench: Bench) -> None:
    """What an open page costs while jobs move, and how much longer they take."""
    for watched in [False, True] * ROUNDS:
        bench.round += 1  # no model is made twice
        bench.state = bench.folder / f"state-{bench.round}"
        bench.environment["UPLOADER_STATE_DIR"] = str(bench.state)
        bench.enqueue(OPEN, FILE_BYTES)
        bench.run("pause", "--all")
        with bench.daemon("run", "--listen", "127.0.0.1:0") as pid:
            bench.ask(_OVERVIEW)  # the first question loads the server, once
            with bench.page(1.0) if watched else contextlib.nullcontext():
                bench.run("resume", "--all")
                before, begun = cpu_s(pid), time.monotonic()
                all_sent(bench)
                took_s, core_s = time.monotonic() - begun, cpu_s(pid) - before
        who = "a page is open" if watched else "nobody looks"
        print(f"{who:15} {took_s:6.2f} s, {core_s:6.2f} s of a core", flush=True)


def all_sent(bench: Bench) -> None:
    """Wait until no job has to be uploaded any more."""
    query = "SELECT count(*) FROM jobs WHERE stage IN ('create', 'upload')"
    with contextlib.closing(sqlite3.connect(bench.state / "uploader.db")) as database:
        until(lambda: not database.execute(query).fetchone()[0])


def main() -> None:
    """Print the three figures."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        where = ["--data-dir", str(root / "objects"), "--env", str(root / "env")]
        command = [*UPLOADER, "sandbox", *where]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sandbox:
            try:
                assert sandbox.stdout
                told = json.loads(sandbox.stdout.readline())
                for measure in (answers, idle, moving):
                    folder = root / measure.__name__
                    folder.mkdir()
                    print(f"\n{measure.__name__}")
                    measure(Bench(folder, told))
            finally:
                sandbox.terminate()


if __name__ == "__main__":
    main()
