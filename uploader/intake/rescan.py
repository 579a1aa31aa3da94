"""`retry` with `rescan` or `replace`: a job starts over with its folder as it is now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from uploader.core.job import Job, Manifest
from uploader.core.seal import SealedJob
from uploader.intake.inspect import Inspection
from uploader.intake.kept import unchanged, worth_reading
from uploader.intake.plan import Looking, here, planned
from uploader.intake.request import EnqueueRequest
from uploader.model.links import Private
from uploader.runtime import Clock

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def start_over(  # noqa: PLR0913 - the options of `uploader retry`, and whom it tells
    jobs: Jobs,
    job: SealedJob,
    settings: Settings,
    clock: Clock,
    *,
    replace: bool,
    allow: Sequence[str] = (),
    agree: Callable[[Manifest], object] = lambda _: None,
    refused: Callable[[Inspection], object] = lambda _: None,
    reads: Callable[[int], object] = lambda _: None,
    looking: Looking = here,
) -> tuple[Job, Inspection]:
    """The job in its new run, and what was found in its folder.

    ``allow`` waives checks on top of those waived at enqueue. ``agree`` is called with the files
    that were found, and may raise. ``refused`` is called with what was found in a folder that is
    refused, ``reads`` with the number of bytes of the stored files before they are read.
    ``looking`` carries out what reads the folder. Raises VerbRefused, UsageError, NotFound,
    PreflightRefused, StoreError.
    """
    request = EnqueueRequest.from_options(job, allow=allow)
    plan = planned(request, settings, jobs, clock.now(), refused, looking=looking)
    manifest = plan.new.manifest
    agree(manifest)
    jobs.check_restart(job, plan.new, replace=replace)
    stored = [] if replace else worth_reading(job, jobs.files(job.id), manifest)
    if stored:
        reads(sum(file.size_bytes for file in stored))
    private = Private(settings.private_paths)
    kept = looking(request.path, lambda: list(unchanged(stored, manifest, private)))
    with plan.kept(jobs) as new:
        return jobs.restart(job, new, clock.now(), replace=replace, kept=kept), plan.seen
