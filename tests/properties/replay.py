"""The words of a job's history, and what the rows must be that they tell of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from uploader.core.job import OPEN_STATUSES, Event, FileState, Job, Stage, Status
from uploader.core.lifecycle import NEXT_STAGE, TRANSITIONS
from uploader.core.whole_job import WholeJob

_STATUS_TOLD = {
    "blocked": Status.BLOCKED,
    "failed": Status.FAILED,
    "paused": Status.PAUSED,
    "cancelled": Status.CANCELLED,
    "resumed": Status.ACTIVE,
    "retried": Status.ACTIVE,
    "healed": Status.ACTIVE,
    "rescanned": Status.ACTIVE,
    "replaced": Status.ACTIVE,
}
_STAGE_TOLD = {
    "rescanned": Stage.CREATE,
    "replaced": Stage.CREATE,
    "created": Stage.UPLOAD,
    "adopted": Stage.UPLOAD,
    "validating": Stage.VALIDATE,
}


def replayed(history: Iterable[Event]) -> tuple[Stage, Status]:
    """Where a job stands, by its events alone."""
    stage, status = Stage.CREATE, Status.ACTIVE
    for event in history:
        stage = _STAGE_TOLD.get(event.kind, stage)
        status = _STATUS_TOLD.get(event.kind, status)
        if event.kind == "ready":
            stage, status = Stage.READY, Status.DONE
    return stage, status


@dataclass(frozen=True)
class Snapshot:
    """Everything the store says at one moment."""

    jobs: dict[int, WholeJob]
    files: dict[tuple[int, str], FileState]
    events: list[Event]

    def history(self, job_id: int) -> list[Event]:
        return [event for event in self.events if event.job_id == job_id]


def assert_whole(now: Snapshot) -> None:
    """What the rows of one moment must agree on."""
    for file in now.files.values():
        assert 0 <= file.checkpoint.offset <= file.size_bytes
        assert 0 <= file.mark.offset <= file.size_bytes
        assert not file.stored or file.checkpoint.offset == file.size_bytes
    for job in now.jobs.values():
        assert job.bytes_confirmed <= job.bytes_total
        if job.stage in (Stage.VALIDATE, Stage.READY):
            assert job.files_stored == job.files_total, "docs/invariants.md §4"
        assert (job.status is Status.DONE) == (job.stage is Stage.READY)
        assert replayed(now.history(job.id)) == (job.stage, job.status)
        assert now.history(job.id)[0].kind == "enqueued"
    open_models = [
        (job.base_url, job.account, job.model_id)
        for job in now.jobs.values()
        if job.status in OPEN_STATUSES
    ]
    assert len(open_models) == len(set(open_models)), "one open job per model"


def assert_follows(before: Snapshot, now: Snapshot, *, may_advance: bool) -> None:
    """What one step may change; only a progress or stored write moves an offset ahead."""
    for job_id in before.jobs.keys() & now.jobs.keys():
        _assert_moved_along_the_tables(before.jobs[job_id], now.jobs[job_id])
    for name in before.files.keys() & now.files.keys():
        same_run = now.jobs[name[0]].run_number == before.jobs[name[0]].run_number
        if same_run and not may_advance:
            assert now.files[name].checkpoint.offset <= before.files[name].checkpoint.offset
    _assert_appended(before, now)


def _assert_moved_along_the_tables(before: Job, now: Job) -> None:
    assert now.status in (before.status, *TRANSITIONS[before.status].values())
    assert now.run_number - before.run_number in (0, 1)
    if now.run_number == before.run_number:
        assert now.stage in (before.stage, NEXT_STAGE.get(before.stage))
        assert now.bytes_sent >= before.bytes_sent
    else:
        assert (now.stage, now.bytes_confirmed, now.bytes_sent) == (Stage.CREATE, 0, 0)


def _assert_appended(before: Snapshot, now: Snapshot) -> None:
    """History is append-only, but for jobs that were removed whole."""
    kept = [event for event in before.events if event.job_id in now.jobs]
    assert now.events[: len(kept)] == kept
    last = before.events[-1].seq if before.events else 0
    fresh = [event.seq for event in now.events[len(kept) :]]
    assert fresh == sorted(set(fresh))
    assert all(seq > last for seq in fresh)
