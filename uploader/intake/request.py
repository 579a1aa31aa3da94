"""What to make of a folder: one typed request for all callers (CLI, Python, HTTP)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from uploader.core.errors import NotFound, UsageError
from uploader.core.job import ACCOUNT_ID, Kind
from uploader.core.seal import SealedJob
from uploader.model.model_id import check_model_id

PRIORITIES = range(-1000, 1001)
#: What `snapshot` may be.
HARDLINK = "hardlink"
#: These are in the options of every job, given or not. Any other one is there only if it was given,
#: so that a job of an earlier version, which did not know it, is still the same job.
_ALWAYS = frozenset({
    "model_id", "account", "kind", "base_model",
    "display_name", "description", "hugging_face_url", "include", "exclude",
})  # fmt: skip


#: Each is tried with every name of the folder.
_MOST_GLOBS = 100
_MOST_GLOB_CHARS = 10_000


@dataclass(frozen=True, slots=True)
class ModelFields:
    """The fields of a model that can be given by name; any other one goes into `model_json`.

    None, False and an empty text count as not given. This is the only list of them: the service's
    names, the flags and the keys of a job's options all follow from these (docs/fireworks.md).
    """

    display_name: str | None = None
    description: str | None = None
    hugging_face_url: str | None = None
    github_url: str | None = None
    public: bool = False
    context_length: int | None = None
    supports_tools: bool = False
    supports_image_input: bool = False
    default_draft_model: str | None = None
    default_draft_token_count: int | None = None

    def given(self) -> dict[str, Any]:
        """The fields that were given, by their names here."""
        return {name: value for name, value in asdict(self).items() if _is_given(value)}

    def as_remote(self) -> dict[str, Any]:
        """The fields that were given, by the service's names."""
        return {remote_name(name): value for name, value in self.given().items()}


#: The names of `ModelFields`, in their order.
MODEL_FIELDS: tuple[str, ...] = tuple(one.name for one in fields(ModelFields))


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != ""


def remote_name(name: str) -> str:
    """A model's field as the service spells it: ``hugging_face_url`` → ``huggingFaceUrl``."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)


@dataclass(frozen=True, slots=True)
class EnqueueRequest:
    """A folder and what is asked for. Relative paths are relative to the current folder.

    If ``kind`` is None, the folder's content decides. ``model_json`` holds fields of the model by
    the service's names. ``include`` and ``exclude`` are globs on names. The errors of the checks in
    ``allow`` become warnings; with ``no_preflight`` no file's content is checked. ``snapshot`` is
    HARDLINK if the folder may be deleted before its files are sent (sources/snapshot.py).
    """

    path: Path
    model_id: str | None = None
    account: str | None = None
    kind: Kind | None = None
    base_model: str | None = None
    fields: ModelFields = ModelFields()
    model_json: Mapping[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    no_preflight: bool = False
    priority: int = 0
    snapshot: str | None = None

    def check(self) -> None:
        """Raises UsageError for a value that is wrong for every folder."""
        for name, text in self._texts():
            if any("\ud800" <= char <= "\udfff" for char in text):
                hint = "check the terminal's encoding"
                raise UsageError(f"`{name}` is not valid UTF-8", hint=hint)
        if self.model_id is not None:
            check_model_id(self.model_id)
        if self.account is not None and not ACCOUNT_ID.fullmatch(self.account):
            hint = "it is the short id in accounts/ID, not an e-mail address"
            raise UsageError(f"`account` cannot be {self.account!r}", hint=hint)
        if self.priority not in PRIORITIES:
            hint = f"write a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}"
            raise UsageError(f"`priority` cannot be {self.priority!r}", hint=hint)
        self._check_globs()
        if self.snapshot not in (None, HARDLINK):
            raise UsageError(
                f"`snapshot` cannot be {self.snapshot!r}", hint=f"it may be {HARDLINK}"
            )

    def _check_globs(self) -> None:
        globs = (*self.include, *self.exclude)
        if len(globs) > _MOST_GLOBS or sum(map(len, globs)) > _MOST_GLOB_CHARS:
            message = (
                f"`include` and `exclude` may have {_MOST_GLOBS} globs together,"
                f" of {_MOST_GLOB_CHARS:,} characters in all"
            )
            raise UsageError(message, hint="write fewer globs, with `*`")

    def _texts(self) -> Iterator[tuple[str, str]]:
        words = {
            "model_id": self.model_id,
            "account": self.account,
            "base_model": self.base_model,
            **self.fields.given(),
        }
        yield from ((name, word) for name, word in words.items() if isinstance(word, str))

    def as_options(self, model_id: str, kind: Kind) -> dict[str, Any]:
        """What distinguishes jobs of one folder (docs/life.md), as a job's row keeps it.

        Id and kind are the resulting ones: spelling out what is derived anyway makes no difference.
        `from_options` reads it.
        """
        words = {
            "model_id": model_id,
            "account": self.account,
            "kind": kind.value,
            "base_model": self.base_model,
            **dict.fromkeys(MODEL_FIELDS),
            **self.fields.given(),
            "model_json": dict(self.model_json),
            "include": sorted(set(self.include)),
            "exclude": sorted(set(self.exclude)),
            "allow": sorted(set(self.allow)),
            "no_preflight": self.no_preflight,
        }
        return {_key(name): word for name, word in words.items() if word or name in _ALWAYS}

    @classmethod
    def from_options(cls, job: SealedJob, *, allow: Sequence[str] = ()) -> Self:
        """The request that made ``job``; ``allow`` waives checks on top of those it waived."""
        options = job.options
        given = {name: options[_key(name)] for name in MODEL_FIELDS if options.get(_key(name))}
        return cls(
            path=Path(job.path),
            model_id=job.model_id,
            account=options.get("account"),
            kind=Kind(options.get("kind", job.kind)),
            base_model=options.get("base-model"),
            fields=ModelFields(**given),
            model_json=options.get("model-json", {}),
            include=tuple(options.get("include", ())),
            exclude=tuple(options.get("exclude", ())),
            allow=(*options.get("allow", ()), *allow),
            no_preflight=options.get("no-preflight", False),
            priority=job.priority,
            snapshot=HARDLINK if job.snapshot else None,
        )


def folder_of(word: str) -> Path:
    """``word`` as a path. Raises NotFound if it is empty: that is an unset variable."""
    if not word:
        raise NotFound("the path is empty", hint="check the variable that it comes from")
    return Path(word)


def _key(name: str) -> str:
    return name.replace("_", "-")
