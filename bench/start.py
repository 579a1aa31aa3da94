"""What starting, going on and waiting cost: `make bench-start` writes bench/START.md.

Linux only: it reads /proc. Medians, with the least and the most, of as many rounds as there are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from bench.page import FINISHED, OPEN, UPLOADER, Bench, cpu_s, finish, until
from bench.report import facts
from tests.postgresql import Cluster, binaries
from uploader.sandbox.server import Sandbox

ROUNDS = 9
IDLE_S = 60.0
MANY = 100_000
MIB = 1 << 20
#: What `uploader status` cannot do without.
_LIBRARIES = "import sqlalchemy, typer, pydantic"

_COLUMNS = "SELECT quote_ident(column_name) FROM information_schema.columns WHERE table_name = %s"

Found = tuple[str, float, Sequence[float]]


def used_s(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from start to end, and seconds of CPU."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def starts(bench: Bench) -> list[Found]:
    """Commands with next to nothing to do."""
    bench.enqueue(3, 1000)
    status = [*UPLOADER, "status"]
    bare = [sys.executable, "-c", _LIBRARIES]
    ratios = [
        used_s(status, bench.environment)[1] / used_s(bare, bench.environment)[1]
        for _ in range(ROUNDS)
    ]
    bench.run("cancel", "--all")
    run = [*UPLOADER, "run", "--until-idle"]
    runs = [used_s(run, bench.environment)[1] for _ in range(ROUNDS)]
    return [
        ("`status`: CPU through that of importing what it needs", 1.3, ratios),
        ("`run --until-idle` with nothing to do, seconds of CPU", 0.35, runs),
    ]


def large(bench: Bench) -> list[Found]:
    """A table of many finished jobs."""
    finish(bench, MANY)
    took = [used_s([*UPLOADER, "status"], bench.environment)[0] for _ in range(ROUNDS)]
    return [(f"`status` with {MANY} finished jobs, seconds", 0.4, took)]


def idle(bench: Bench) -> list[Found]:
    """A worker that waits, with a history."""
    finish(bench)
    return _waits(bench, "SQLite")


def idle_postgresql(bench: Bench) -> list[Found]:
    """The same with its jobs in PostgreSQL; nothing without one."""
    programs = binaries()
    if programs is None:
        return []
    # Not the scratch folder: the server's user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="uploader-pg-", dir="/tmp") as folder:
        cluster = Cluster(programs, Path(folder))
        try:
            with cluster.database() as name:
                bench.environment["UPLOADER_DATABASE_URL"] = cluster.url(name)
                bench.enqueue(1, 1000)
                _finish_postgresql(cluster.url(name))
                return _waits(bench, "PostgreSQL")
        finally:
            cluster.stop()


def _finish_postgresql(url: str) -> None:
    """As `finish`."""
    with psycopg.connect(url) as database:
        database.execute("UPDATE jobs SET stage = 'ready', status = 'done', ready_at = updated_at")
        for table, key in (("jobs", "id"), ("files", "job_id"), ("events", "job_id")):
            names = {name for (name,) in database.execute(_COLUMNS, [table])} - {key}
            kept = sorted(names - {"seq"} - ({"id"} if table == "files" else set()))
            unlike = {"model": "'accounts/sandbox/models/m' || n", "folder_key": "folder_key || n"}
            shown = [unlike.get(name, name) if table == "jobs" else name for name in kept]
            database.execute(
                f"INSERT INTO {table} ({key}, {', '.join(kept)}) OVERRIDING SYSTEM VALUE"
                f" SELECT n, {', '.join(shown)} FROM generate_series(2, {FINISHED}) n, {table}"
                f" WHERE {key} = 1"
            )
        database.execute("SELECT setval(pg_get_serial_sequence('jobs', 'id'), %s)", [FINISHED])


def _waits(bench: Bench, store: str) -> list[Found]:
    bench.enqueue(OPEN, 1000)
    bench.run("pause", "--all")
    shares = []
    with bench.daemon("run", "--listen", "127.0.0.1:0") as pid:
        time.sleep(5)  # what a start does once is not waiting
        for _ in range(3):
            before = cpu_s(pid)
            time.sleep(IDLE_S)
            shares.append(100 * (cpu_s(pid) - before) / IDLE_S)
    what = f"an idle worker, {store}, 10 000 finished and 100 paused jobs, % of a core"
    return [(what, 0.1, shares)]


def resumes(bench: Bench, box: Sandbox) -> list[Found]:
    """From the start of a process to the first new byte of a file that was cut off by SIGKILL."""

    def received() -> int:
        return sum(one["body_bytes_read"] for one in box.report()["objects"].values())

    environment = {**bench.environment, "UPLOADER_TRANSFER__BANDWIDTH_LIMIT": "8MiB/s"}
    bench.enqueue(1, 512 * MIB)
    took = []
    for _ in range(ROUNDS + 1):
        before, began = received(), time.perf_counter()
        with subprocess.Popen(
            [*UPLOADER, "run", "--listen", "off"], env=environment, stderr=subprocess.DEVNULL
        ) as process:
            until(lambda: received() > before)  # noqa: B023 - it is called in this round
            took.append(time.perf_counter() - began)
            until(lambda: received() > before + MIB)  # noqa: B023
            process.send_signal(signal.SIGKILL)
        time.sleep(1)  # the sandbox notices the cut
    return [("the first new byte after a SIGKILL, seconds after the start", 0.35, took[1:])]


def page(found: Sequence[Found]) -> str:
    """A page that can be read."""
    lines = [
        "# Starting, going on, waiting",
        "",
        "`make bench-start` wrote this page. Medians, with the least and the most.",
        "",
        *(f"- {name}: {value}" for name, value in facts(()).items()),
        "",
        "| what | target | here | |",
        "|---|---|---|---|",
    ]
    for what, bound, values in found:
        middle = statistics.median(values)
        verdict = "met" if round(middle, 3) <= bound else "**not met**"
        shown = f"{middle:.2f} ({min(values):.2f} to {max(values):.2f}, {len(values)} times)"
        lines.append(f"| {what} | ≤ {bound:g} | {shown} | {verdict} |")
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def fresh(scratch: Path, name: str) -> Iterator[tuple[Bench, Sandbox]]:
    """A state folder and a sandbox that nothing has been measured with."""
    folder = scratch / name
    folder.mkdir()
    with Sandbox(data_dir=folder / "objects") as box:
        yield Bench(folder, {"base_url": box.base_url, "api_key": box.api_key}), box


def main() -> None:
    """Measure, print, write."""
    found: list[Found] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for measure in (starts, large, idle, idle_postgresql):
            with fresh(scratch, measure.__name__) as (bench, _):
                found += measure(bench)
            print(*found, sep="\n", flush=True)
        with fresh(scratch, "resumes") as (bench, box):
            found += resumes(bench, box)
    Path(__file__).with_name("START.md").write_text(page(found))


if __name__ == "__main__":
    main()
