"""A model as the service describes it, and whether a job can go on with one that is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from uploader.core.errors import JobRefused
from uploader.core.job import Job, NewJob
from uploader.core.reasons import Code
from uploader.core.text import some

_NAMES_SHOWN = 5
#: See docs/fireworks.md §1.2.
_KINDS_OF_OLD = ("", "KIND_UNSPECIFIED", "CUSTOM_MODEL")
_PLAIN = ("ENCRYPTION_STATE_UNSPECIFIED", "ENCRYPTION_STATE_PLAINTEXT")


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model as the service describes it; a field that it leaves out is empty or None."""

    state: str
    status_code: str
    status_message: str
    kind: str
    huggingface_files: tuple[str, ...] | None
    peft_base_model: str | None
    encryption_state: str
    default_precision: str = ""
    supports_lora: bool | None = None


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model in the list of an account, in the service's words."""

    model_id: str
    state: str
    kind: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ModelList:
    """Models of an account; ``complete``: all that it has."""

    models: tuple[ListedModel, ...]
    complete: bool


def refuse_ready(name: str, model: RemoteModel, hint: str = "") -> None:
    """Raises JobRefused for a model that has its files already."""
    if model.state == "READY":
        message = f"{name} already exists and is READY"
        raise JobRefused(message, code=Code.ALREADY_EXISTS, hint=hint)


def refuse_different(job: Job | NewJob, model: RemoteModel) -> None:
    """Raises JobRefused unless an existing model fits this job and still waits for its files."""
    refuse_ready(job.model, model)
    differences = [*_differences(job, model)]
    if differences:
        ours = isinstance(job, Job) and job.created_remotely
        raise JobRefused(
            f"{job.model} exists and differs: {'; '.join(differences)}",
            code=Code.EXISTS_DIFFERENTLY,
            hint="`uploader retry --replace` deletes it and creates it again"
            if ours
            else Code.ALREADY_EXISTS.hint,
        )


def _differences(job: Job | NewJob, model: RemoteModel) -> Iterator[str]:
    if model.state == "FAILED":
        yield f"its state is FAILED ({model.status_message or 'no reason given'})"
    # For models made before 2026 the service may report neither kind nor files.
    if model.kind not in (*_KINDS_OF_OLD, job.kind.remote):
        yield f"its kind is {model.kind}, ours is {job.kind.remote}"
    ours = set(job.create_body["model"].get("baseModelDetails", {}).get("huggingfaceFiles", ()))
    theirs = set(model.huggingface_files or ours)
    if ours - theirs:
        yield f"it lacks {some(sorted(ours - theirs), _NAMES_SHOWN)}"
    if theirs - ours:
        yield f"it also expects {some(sorted(theirs - ours), _NAMES_SHOWN)}"
    if model.encryption_state not in ("", *_PLAIN):
        yield "it is encrypted with a customer's key, which uploader does not support"
