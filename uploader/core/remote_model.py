"""A model as the service describes it, and whether a job can go on with one that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from uploader.core.errors import JobRefused
from uploader.core.job import NewJob
from uploader.core.reasons import Code
from uploader.core.redact import foreign_line
from uploader.core.text import and_more, some
from uploader.core.whole_job import WholeJob

#: Seconds: validateUpload reads whole models (docs/fireworks.md §3).
VALIDATE_S = 600.0
#: Seconds: nobody says how long a DELETE may go on; no front end is known to hold one for longer.
DELETE_S = 600.0
#: One moment may be told more or less exactly. No job makes two models of a name within this time.
A_SECOND = timedelta(seconds=1)
#: A POST and a GET may tell one moment so differently.
A_MINUTE, _A_DAY = timedelta(minutes=1), timedelta(days=1)
_MOST_SHOWN = 5
_MAX_VALUE_CHARS = 60
#: See docs/fireworks.md §1.2.
_KINDS_OF_OLD = ("", "KIND_UNSPECIFIED", "CUSTOM_MODEL")
_PLAIN = ("ENCRYPTION_STATE_UNSPECIFIED", "ENCRYPTION_STATE_PLAINTEXT")
#: The states of a model that takes files, and of one whose state is not shown.
_WAITS = ("", "STATE_UNSPECIFIED", "UPLOADING")
#: Module names that the service takes for each other (docs/fireworks.md §6).
_SAME_MODULE = {"w1": "up_proj", "w2": "down_proj", "w3": "gate_proj"}
#: Fields that are told also if this job did not ask for them (docs/fireworks.md §1.2).
_OPTIONS = (
    *("displayName", "description", "githubUrl", "huggingFaceUrl", "contextLength"),
    *("trainingContextLength", "supportsImageInput", "supportsTools", "useHfApplyChatTemplate"),
    *("defaultDraftModel", "defaultDraftTokenCount", "snapshotType"),
    *("conversationConfig.style", "conversationConfig.system", "conversationConfig.template"),
    *("deprecationDate.year", "deprecationDate.month", "deprecationDate.day"),
)
#: Fields with a rule of their own.
_RULED = (
    *("kind", "public", "peftDetails.baseModel", "peftDetails.r", "peftDetails.targetModules"),
    *("baseModelDetails.checkpointFormat", "baseModelDetails.huggingfaceFiles"),
)


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model as the service describes it; a field that it leaves out is empty or None."""

    state: str
    status_code: str
    status_message: str
    kind: str
    huggingface_files: tuple[str, ...] | None
    encryption_state: str
    default_precision: str = ""
    supports_lora: bool | None = None
    created_at: datetime | None = None
    #: The whole answer as it came, for it is compared with ours; only `_seen` may show it.
    shown: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


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


def is_same_model(job: WholeJob, model: RemoteModel) -> bool | None:
    """Is it the one that the job knew last, and not a later one of its name? None if unknown."""
    before, now = job.model_created_at, model.created_at
    return None if before is None or now is None else abs(now - before) < A_SECOND


def made_apart(before: datetime | None, model: RemoteModel) -> timedelta:
    """How much later than ``before`` it was made; negative if earlier.

    A minute or less counts as zero, because a POST and a GET may tell one moment differently. So
    does an unknown time.
    """
    now = model.created_at
    apart = now - before if before and now else timedelta(0)
    return apart if abs(apart) > A_MINUTE else timedelta(0)


def is_old(job: WholeJob, model: RemoteModel) -> bool:
    """Was it there long before the job? Their times are of two clocks, which may differ."""
    return model.created_at is not None and model.created_at < job.created_at - _A_DAY


def refuse_ready(name: str, model: RemoteModel, hint: str = "") -> None:
    """Raises JobRefused for a model that has its files already."""
    if model.state == "READY":
        message = f"{name} already exists and is READY"
        raise JobRefused(message, code=Code.ALREADY_EXISTS, hint=hint)


def refuse_different(job: WholeJob | NewJob, model: RemoteModel) -> str:
    """Raises JobRefused unless an existing model fits this job and still waits for its files.

    Returns in words what else differs from what this job would create; empty if nothing does
    (docs/life.md §2).
    """
    name = job.model
    refuse_ready(name, model)
    differences = [*_differences(job, model)]
    if differences:
        raise JobRefused(
            f"{name} exists and differs: {'; '.join(differences)}",
            code=Code.EXISTS_DIFFERENTLY,
            hint=_way_out(job),
        )
    told = [*_options_that_differ(_model(job), model.shown)]
    more = [and_more(len(told) - _MOST_SHOWN)] if len(told) > _MOST_SHOWN else []
    return "; ".join([*told[:_MOST_SHOWN], *more])


def _way_out(job: WholeJob | NewJob) -> str:
    if isinstance(job, WholeJob) and job.created_remotely:
        return "`uploader retry --replace` deletes it and creates it again"
    then = f"`uploader retry {job.id}`" if isinstance(job, WholeJob) else "enqueue the folder"
    return f"`uploader model delete {job.model}`, then {then}; or choose another `model_id`"


def _model(job: WholeJob | NewJob) -> Mapping[str, Any]:
    found: Mapping[str, Any] = job.create_body.get("model", {})
    return found


def _differences(job: WholeJob | NewJob, model: RemoteModel) -> Iterator[str]:
    if model.state not in _WAITS:
        why = f" ({model.status_message})" if model.status_message else ""
        yield f"its state is {model.state}{why}"
    # For models made before 2026 the service may report neither kind nor files.
    if model.kind not in (*_KINDS_OF_OLD, job.kind.remote):
        yield f"its kind is {model.kind}, ours is {job.kind.remote}"
    body = _model(job)
    ours = set(_object(body, "baseModelDetails").get("huggingfaceFiles", ()))
    theirs = set(model.huggingface_files or ours)
    if ours - theirs:
        yield f"it lacks {some(sorted(ours - theirs), _MOST_SHOWN)}"
    if theirs - ours:
        yield f"it also expects {some(sorted(theirs - ours), _MOST_SHOWN)}"
    if model.encryption_state not in ("", *_PLAIN):
        yield "it is encrypted with a customer's key, which uploader does not support"
    if _is_public(model.shown) and not _is_public(body):
        yield "everybody may read it (`public`), ours is private"
    yield from adapter_differences(body, model.shown)


def _is_public(model: Mapping[str, Any]) -> bool:
    """Whatever is not plainly private counts as public."""
    return model.get("public") not in (None, False, "")


def adapter_differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """How another model differs from ours as an adapter, as far as it is known.

    None of it can be changed once a model is created (docs/fireworks.md §1.2).
    """
    mine, other = _object(ours, "peftDetails"), _object(theirs, "peftDetails")
    for name, words in (("baseModel", "base model"), ("r", "rank")):
        here, there = _word(mine.get(name)), _word(other.get(name))
        if there not in ("", here):
            yield f"its {words} is {_seen(there)}, ours is {_seen(here)}"
    known, found = _modules(mine), _modules(other)
    if found not in (frozenset(), known):
        theirs_seen, ours_seen = (_seen(some(sorted(x), _MOST_SHOWN)) for x in (found, known))
        yield f"its target modules are {theirs_seen}, ours are {ours_seen}"


def _modules(details: Mapping[str, Any]) -> frozenset[str]:
    """In no order; empty if they are not shown."""
    listed = details.get("targetModules")
    names = filter(None, map(_word, listed if isinstance(listed, list) else ()))
    return frozenset(_SAME_MODULE.get(name, name) for name in names)


def _options_that_differ(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """In what an upload does not depend on, and a service may write in its own way.

    A field that it does not show counts as ours, but for `public`.
    """
    if _is_public(ours) and not _is_public(theirs):
        yield "it is private, ours is public"
    for path in dict.fromkeys((*_paths(ours), *_OPTIONS)):
        there = _at(theirs, path)
        here, word = _word(_at(ours, path)), _word(there)
        if there is not None and here != word and path not in _RULED:
            yield f"its {path} is {_seen(word)}, ours is {_seen(here)}"


def _paths(model: Mapping[str, Any]) -> Iterator[str]:
    for name, value in model.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def _at(model: Mapping[str, Any], path: str) -> Any:
    name, _, inner = path.rpartition(".")
    return (_object(model, name) if name else model).get(inner)


def _object(model: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = model.get(name)
    return found if isinstance(found, Mapping) else {}


def _word(value: object) -> str:
    """A value of protobuf's JSON, for comparing: empty if it is not set, or cannot be read."""
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, int):  # int64 values are strings
        return str(value) if value else ""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "" if text == "0" or text.endswith("_UNSPECIFIED") else text


def _seen(word: str) -> str:
    return foreign_line(word, _MAX_VALUE_CHARS) or "not set"
