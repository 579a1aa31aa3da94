"""Compares local files, and the model on the service, with a receipt or a job."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from uploader import files
from uploader.core.errors import (
    JobError,
    NotFound,
    RemoteError,
    SourceChanged,
    SourceMissing,
    SourceUnsettled,
    UsageError,
)
from uploader.core.foreign_json import TooMany, parsed
from uploader.core.job import ACCOUNT_ID, INT64_END, MODEL_ID, SHA256, FileState
from uploader.core.receipt_documents import PREDICATE_TYPE, STATEMENT_TYPE, Difference
from uploader.core.remote_model import made_apart
from uploader.core.resumable import decode_crc32c, encode_crc32c
from uploader.core.text import flaw_of_path
from uploader.core.verdict import Verdict
from uploader.core.whole_job import WholeJob
from uploader.intake.receipt import require_proof
from uploader.model.kinds import RESOURCE_NAME
from uploader.sources.digest import Digest, digest

if TYPE_CHECKING:
    from uploader.remote.fireworks import Fireworks

#: A hundred times what the receipt of a model of a thousand files takes.
MAX_RECEIPT_BYTES = 64_000_000
#: That of a model of a hundred thousand files has fewer. As Python objects, a value that takes two
#: bytes in the file takes seventy.
_MAX_VALUES = 2_000_000
_MODEL = re.compile(
    rf"accounts/(?P<account>{ACCOUNT_ID.pattern})/models/(?P<id>{MODEL_ID.pattern})"
)
_HINT = "give a file that `uploader receipt JOB` printed, unchanged"


@dataclass(frozen=True, slots=True)
class ProvenFile:
    """One file as it was sent; ``sha256`` is None if only its CRC32C is known.

    ``as_sent``: its SHA-256 was computed over the bytes as they were sent.
    """

    path: str
    size_bytes: int
    crc32c: int | None
    sha256: str | None = None
    as_sent: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """What local files are compared with: what a job, or the file of a ``receipt``, says."""

    model: str
    base_url: str
    root: str
    files: tuple[ProvenFile, ...]
    job_id: int | None = None
    receipt: str | None = None
    #: When the service created the model; a receipt does not say it.
    model_created_at: datetime | None = None

    @property
    def origin(self) -> str:
        """Who says so, in words."""
        return f"job {self.job_id}" if self.receipt is None else f"receipt {self.receipt}"

    @property
    def size_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)

    @property
    def by_crc32c(self) -> int:
        """How many files only their CRC32C ties to what was sent."""
        return sum(not file.as_sent for file in self.files)


def names_receipt(given: str) -> bool:
    """Whether ``given`` names a file, and not a job.

    No file decides that by being there: somebody else may have put it into this folder.
    """
    is_path = "/" in given and not RESOURCE_NAME.fullmatch(given)
    return is_path or given.endswith(".json")


def proof_of_job(job: WholeJob, files: Sequence[FileState]) -> Proof:
    """What the job table knows of a job that is done. Raises as `require_proof`."""
    require_proof(job, files)
    proven = tuple(
        ProvenFile(file.path, file.size_bytes, file.crc32c, file.sha256, file.sha256_as_sent)
        for file in files
    )
    return Proof(job.model, job.base_url, job.path, proven, job.id, None, job.model_created_at)


def proof_of_receipt(path: Path) -> Proof:
    """What a receipt says. Raises NotFound, and UsageError if the file is not a receipt."""
    try:
        raw, _ = files.read(path, MAX_RECEIPT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", hint="check the path") from None
    except files.NotAFile as flaw:
        why = f"cannot read {path}, which is not a receipt: {flaw.strerror}"
        raise UsageError(why, hint=_HINT) from None
    except OSError as error:
        hint = "give a file that this user may read"
        raise UsageError(f"cannot read {path}: {error.strerror}", hint=hint) from None
    try:
        return replace(_proof(raw), receipt=str(files.absolute(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as flaw:
        why = str(flaw) if type(flaw) is ValueError else "it lacks what a receipt has"
        raise UsageError(f"{path} is not a receipt: {why}", hint=_HINT) from None


def _proof(raw: bytes) -> Proof:
    """Raises ValueError, KeyError, TypeError, AttributeError for what is not a receipt."""
    if len(raw) > MAX_RECEIPT_BYTES:
        raise ValueError("it is too large")
    try:
        document = parsed(raw, _MAX_VALUES)
    except TooMany:
        raise ValueError("it is too large") from None
    if (document["_type"], document["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError("its `_type` or `predicateType` is another")
    digests = {one["name"]: one["digest"]["sha256"] for one in document["subject"]}
    predicate = document["predicate"]
    files = tuple(_proven(one, digests) for one in predicate["files"])
    if not files:
        raise ValueError("it names no file")
    if len({file.path for file in files}) < len(files) or len(digests) != len(files):
        raise ValueError("`subject` and `files` do not name the same files")
    model, base_url, root = predicate["model"], predicate["base_url"], predicate["path"]
    if not (isinstance(base_url, str) and isinstance(root, str)) or flaw_of_path(root):
        raise ValueError("it names neither service nor folder")
    if not _MODEL.fullmatch(model):
        raise ValueError("it names no model")
    return Proof(model, base_url, root, files)


def _proven(file: Any, digests: dict[str, Any]) -> ProvenFile:
    name, size_bytes, sha256 = file["name"], file["size_bytes"], digests[file["name"]]
    whole = type(size_bytes) is int and 0 <= size_bytes < INT64_END
    crc32c = decode_crc32c(file["crc32c"])
    if not whole or not SHA256.fullmatch(sha256) or crc32c is None:
        raise ValueError("a size or a digest cannot be read")
    if not _stays_below(name):
        raise ValueError("a name leads out of the folder")
    as_sent = file.get("sha256_as_sent") is True  # earlier versions did not say
    return ProvenFile(name, size_bytes, crc32c, sha256, as_sent)


def _stays_below(name: str) -> bool:
    parts = name.split("/")
    relative = not PurePosixPath(name).is_absolute()
    return relative and not flaw_of_path(name) and not {"", ".", ".."} & set(parts)


def compare_files(
    proof: Proof, root: Path, on_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Difference]:
    """Every difference of the files below ``root``; files that the proof does not name are ignored.

    ``on_bytes`` is called with the length of each block.
    Raises NotFound if ``root`` is not a folder.
    """
    if not os.path.isdir(root):  # noqa: PTH112 - never raises
        raise NotFound(f"there is no folder {root}", hint="say where the files are now: `path`")
    for file in proof.files:
        yield from _compare(file, root / file.path, on_bytes)


def _compare(file: ProvenFile, path: Path, on_bytes: Callable[[int], None]) -> Iterator[Difference]:
    try:
        found = digest(path, on_bytes, file.size_bytes)
    except SourceMissing:
        yield Difference(file.path, "missing", f"{file.path} is gone")
    except (SourceChanged, SourceUnsettled):
        message = f"{file.path} is not a file, or is being written to"
        yield Difference(file.path, "unreadable", message)
    except JobError as error:
        yield Difference(file.path, "unreadable", error.message)
    else:
        yield from _differs(file, found)


def _differs(file: ProvenFile, found: Digest) -> Iterator[Difference]:
    if found.size_bytes != file.size_bytes:
        message = f"{file.path} has {found.size_bytes:,} bytes and not {file.size_bytes:,}"
        yield Difference(file.path, "size", message)
    elif file.sha256 is not None and found.sha256 != file.sha256:
        message = f"{file.path} has the SHA-256 {found.sha256} and not {file.sha256}"
        yield Difference(file.path, "sha256", message)
    elif file.crc32c is not None and found.crc32c != file.crc32c:
        ours, theirs = encode_crc32c(found.crc32c), encode_crc32c(file.crc32c)
        message = f"{file.path} has the CRC32C {ours} and not {theirs}"
        yield Difference(file.path, "crc32c", message)


def compare_model(proof: Proof, service: Fireworks, base_url: str) -> Iterator[Difference]:
    """Every difference of the model on the service, whose own ``base_url`` must be the proof's.

    Raises UsageError if it is another, so that no key goes where a file says; RemoteError without
    an answer.
    """
    if proof.base_url != base_url:
        message = f"the model is on {proof.base_url}, and the configured service is {base_url}"
        raise UsageError(message, hint="set fireworks.base_url to the service of the model")
    named = _MODEL.fullmatch(proof.model)
    if named is None:
        raise UsageError(f"{proof.model} is not the name of a model", hint=_HINT)
    try:
        model = service.get(named["account"], named["id"])
    except RemoteError as error:
        if error.verdict is not Verdict.ABSENT:
            raise
        yield Difference(None, "model", f"{proof.model} does not exist on the service")
        return
    if model.state != "READY":
        state = model.state or "unknown"
        yield Difference(None, "state", f"the state of {proof.model} is {state} and not READY")
    if made_apart(proof.model_created_at, model):
        yield Difference(None, "model", f"somebody has made another model of {proof.model}'s name")
    yield from _compare_names(proof, model.huggingface_files)


def _compare_names(proof: Proof, listed: Sequence[str] | None) -> Iterator[Difference]:
    if listed is None:
        return  # the service may leave the list out (docs/fireworks.md §1.1)
    sent, theirs = {file.path for file in proof.files}, set(listed)
    for path in sorted(sent - theirs):
        yield Difference(path, "files", f"{path} is not in the model's list of files")
    for path in sorted(theirs - sent):
        message = f"{path} is in the model's list of files, and was not sent"
        yield Difference(path, "files", message)
