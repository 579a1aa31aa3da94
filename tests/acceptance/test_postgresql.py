"""Two machines, as far as they can tell: a state folder each, and one PostgreSQL database."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import DEADLINE_S, GRANULE, MIB, Stopwatch, World, until
from tests.forking import Forking, forking
from tests.postgresql import PASSWORD, Cluster
from uploader.core.job import Scope
from uploader.store.database.dialect import ChangeWatch, connected_workers, open_engine
from uploader.store.database.migrate import HEAD
from uploader.store.jobs import Jobs

__all__ = ["forking"]
pytestmark = [pytest.mark.acceptance, pytest.mark.long]

LEASE_S = 2.0
TAKER_WAITS_S = 10.0


@pytest.fixture
def shared(world: World, postgresql: Cluster) -> Iterator[World]:
    """The world of the first machine, its store an empty database."""
    with postgresql.database() as name:
        world.environment["UPLOADER_DATABASE_URL"] = postgresql.url(name)
        yield world


def _events(world: World, job: int) -> list[str]:
    return [line for line in world.uploader("logs", job).stdout.splitlines() if line]


def _other_machine(world: World) -> dict[str, str]:
    return {"UPLOADER_STATE_DIR": str(world.folder / "other-state")}


def test_a_stopped_holder_is_replaced_after_its_lease_and_disturbs_nobody_when_it_goes_on(
    shared: World,
) -> None:
    shared.environment["UPLOADER_LEASE__DURATION"] = f"{LEASE_S:.0f}s"
    model = shared.model("model", weights_bin=24 * MIB)
    shared.uploader("enqueue", model)
    with shared.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s") as first:
        until(lambda: shared.received() > 4 * MIB)
        first.send_signal(signal.SIGSTOP)
        with shared.worker("--until-idle", **_other_machine(shared)) as second:
            assert second.wait(LEASE_S + TAKER_WAITS_S + DEADLINE_S) == 0, shared.log()
        shared.assert_identical(model)
        shared.assert_kept_every_promise()
        told, received = _events(shared, 1), shared.received()
        assert sum("its worker is gone" in line for line in told) == 1

        first.send_signal(signal.SIGCONT)
        # A whole job is proof that it has gone on, and looked at everything it held.
        after = shared.model("after", weights_bin=MIB)
        shared.uploader("enqueue", after)
        until(lambda: shared.job(2)["status"] == "done")
        first.terminate()
        assert first.wait(DEADLINE_S) == 0, shared.log()
    assert _events(shared, 1) == told
    sent_late = shared.received() - received - sum(f.stat().st_size for f in after.iterdir())
    assert sent_late <= GRANULE, "what sendall had in its hands when the process was stopped"
    for source in (model, after):
        shared.assert_identical(source)
    assert shared.box.report()["creates"] == 2


@pytest.mark.timed
def test_a_killed_worker_has_no_rate_within_two_seconds_though_its_lease_lasts(
    shared: World,
) -> None:
    shared.uploader("enqueue", shared.model("model", weights_bin=64 * MIB))
    engine = open_engine(shared.environment["UPLOADER_DATABASE_URL"])
    jobs = Jobs(engine, living=lambda: dict.fromkeys(connected_workers(engine), Scope()))
    with (
        contextlib.closing(ChangeWatch(engine, "another")),
        shared.worker(UPLOADER_TRANSFER__BANDWIDTH_LIMIT="4MiB/s") as process,
    ):
        until(lambda: jobs.job(1).rate_bps)
        gone = Stopwatch(process)
        process.send_signal(signal.SIGKILL)
        assert gone.until(lambda: jobs.job(1).rate_bps is None) < 2
        assert jobs.job(1).lease
        assert [worker.id for worker in jobs.workers()] == ["another"]
    engine.dispose()


def test_two_machines_share_one_job_table(shared: World) -> None:
    models = [shared.model(f"model-{number}", weights_bin=3 * MIB) for number in range(2)]
    for model in models:
        shared.uploader("enqueue", model)
    assert "no worker runs" in shared.uploader("explain", 1).stdout
    with (
        shared.worker("--until-idle") as first,
        shared.worker("--until-idle", **_other_machine(shared)) as second,
    ):
        assert first.wait(DEADLINE_S) == 0, shared.log()
        assert second.wait(DEADLINE_S) == 0, shared.log()
    for model in models:
        shared.assert_identical(model)
    report = shared.box.report()
    assert report["creates"] == 2
    assert report["bytes_below_confirmed"] == report["early_validations"] == 0
    assert set(report["models"].values()) == {"READY"}


def test_commands_on_postgresql_say_what_they_do_and_never_the_password(
    shared: World, postgresql: Cluster
) -> None:
    assert shared.uploader("db", "current").stdout == "empty\n"
    assert shared.uploader("db", "upgrade").stdout == f"{HEAD}\n"
    said = [shared.uploader("config", "show"), shared.uploader("db", "backup", expect=2)]
    assert "pg_dump" in said[1].stderr
    shared.environment["UPLOADER_DATABASE_URL"] = postgresql.url("nowhere")
    for words in (("status",), ("run",)):
        said.append(shared.uploader(*words, expect=11))
        assert "hint:" in said[-1].stderr
    shared.environment["UPLOADER_DATABASE_URL"] = f"mysql://me:{PASSWORD}@localhost/db"
    said.append(shared.uploader("status", expect=2))
    assert not [one for one in said if PASSWORD in one.stdout + one.stderr]


def test_a_worker_on_another_machine_is_seen(shared: World) -> None:
    shared.uploader("db", "upgrade")
    with shared.worker(**_other_machine(shared)):
        until(lambda: "worker started" in shared.log())
        enqueued = shared.uploader("enqueue", shared.model("model", weights_bin=MIB))
        assert "no worker" not in enqueued.stderr
        until(lambda: shared.job()["status"] == "done")


_UPLOADS = """
import uploader
threading.Thread(target=uploader.upload, args=(place,), daemon=True).start()
wait_for_fork()
"""


def _open_in(pid: int) -> Iterator[str]:
    """What its descriptors, beyond the first three, lead to: paths, or kinds and numbers."""
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if int(one.name) > 2:
                yield str(one.readlink())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process has open")
def test_nothing_of_an_upload_is_open_in_a_child(
    shared: World, forking: Callable[[str, str], Forking], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    model = shared.model("model", weights_bin=8 * MIB)
    shared.hold("weights.bin", MIB)
    parent = forking(_UPLOADS, str(model))
    until(shared.received)
    until(lambda: shared.job()["files_stored"] == 2)  # nothing is just being opened
    until(lambda: str(model / "weights.bin") in _open_in(parent.process.pid))
    parent.fork()
    sockets = [name for name in _open_in(parent.process.pid) if name.startswith("socket:")]
    assert len(sockets) > 3, "to the storage, and to the database"
    assert set(_open_in(parent.child)) == {os.devnull}
    shared.release()
