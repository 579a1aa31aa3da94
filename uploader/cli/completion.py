"""What a shell offers for an unfinished word: jobs and checks, from this machine alone.

Nothing is printed, created or asked of a service, whatever is wrong: a shell would show it in the
middle of the line that is being typed.
"""

from __future__ import annotations

from collections.abc import Iterator

import typer

from uploader import wiring
from uploader.core.errors import UploaderError
from uploader.core.job import MODEL_ID

#: More would not fit on a screen; a few more letters find the others.
_MAX_OFFERED = 1000

#: A word, and what it stands for.
Offer = tuple[str, str]


def jobs(context: typer.Context, incomplete: str) -> list[Offer]:
    """The ids of jobs, and the ids of their models, that begin like ``incomplete``."""
    return [offer for offer in _jobs(context) if offer[0].startswith(incomplete)][:_MAX_OFFERED]


def _jobs(context: typer.Context) -> Iterator[Offer]:
    from uploader.settings.load import load  # pydantic is slow to import

    try:
        with wiring.Store(load(context.obj)) as store:
            table = store.find()
            found = table.jobs(_MAX_OFFERED) if table else []
    except UploaderError:
        return
    for job in found:
        about = job.model_id if MODEL_ID.fullmatch(job.model_id) else "job"
        yield str(job.id), f"{about}: {job.status}"
    # The model of several jobs is offered once: it means the one that has not ended.
    for job in {job.model_id: job for job in found}.values():
        if MODEL_ID.fullmatch(job.model_id):  # a shell may run what else a row says
            yield job.model_id, f"job {job.id}: {job.status}"


def checks(incomplete: str) -> list[str]:
    """The names of preflight's checks that begin like ``incomplete``."""
    from uploader.preflight.registry import check_names  # the checks are slow to import

    return [name for name in check_names() if name.startswith(incomplete)]
