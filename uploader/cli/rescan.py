"""`uploader retry --rescan` and `--replace`: the same job, with its folder as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING

from uploader import wiring
from uploader.cli.look import tell_look
from uploader.cli.plan import FLAGGED, Wanted, field_option, make_plan
from uploader.cli.terminal import say
from uploader.core.job import Job
from uploader.core.text import size

if TYPE_CHECKING:
    from uploader.settings.schema import Settings
    from uploader.store.jobs import Jobs


def start_over(
    store: Jobs, job: Job, settings: Settings, allow: Sequence[str], *, replace: bool
) -> Job:
    """The job in its new life; ``allow`` waives checks beside those waived at enqueue.

    Raises what enqueueing the folder would, and UsageError.
    """
    said = words_of(job)
    plan = make_plan(changed(said, allow=(*said.allow, *allow)), settings)
    begun = store.begin_life(job.id, plan.new, wiring.clock().now(), replace=replace)
    tell_look(plan.seen)
    total = size(begun.bytes_total)
    say(f"job {begun.id}: starts over with {begun.files_total} files, {total}")
    return begun


def words_of(job: Job) -> Wanted:
    """The user's words at enqueue, from the job's row (see plan._options)."""
    said = job.options
    return Wanted(
        path=Path(job.path),
        model_id=job.model_id,
        account=said.get("account"),
        kind=said.get("kind", job.kind.value),
        base_model=said.get("base-model"),
        fields={name: said[key] for name in FLAGGED if said.get(key := field_option(name))},
        model_json=said.get("model-json", {}),
        include=tuple(said.get("include", ())),
        exclude=tuple(said.get("exclude", ())),
        allow=tuple(said.get("allow", ())),
        no_preflight=said.get("no-preflight", False),
        priority=job.priority,
    )
