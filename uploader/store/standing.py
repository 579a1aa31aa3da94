"""How far files are by the word of their seals: what is sealed of it, and if all are stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, exists, select

from uploader.core.job import FileState, Job, PrefixCrc
from uploader.core.redact import SessionUri
from uploader.core.seal import RunSeal
from uploader.store.journal import Journal, Transaction
from uploader.store.rows import file_of, reading_job
from uploader.store.sealed import check_files, unsealed
from uploader.store.tables import files

if TYPE_CHECKING:
    from uploader.store.held_files import StoredFile

_FACTS = ("crc32c", "verified", "generation", "sha256", "sha256_as_sent", "object_path")


class Standing:
    """Some files of a job as they are before a write; read only if there is a secret.

    Raises StoreError for one that was not written with the secret: whatever is sealed again was
    known by its seal.
    """

    def __init__(self, transaction: Transaction, seal: RunSeal, paths: Collection[str]) -> None:
        self._seal = seal
        self._known: dict[str, FileState] = {}
        if seal.base.secret is None or not paths:
            return
        query = _of(seal.job_id).where(files.c.path.in_(paths))
        with reading_job(seal.job_id):
            found = [file_of(row) for row in transaction.connection.execute(query)]
        check_files(seal, found)
        self._known = {file.path: file for file in found}

    def after(self, path: str, **changes: Any) -> str | None:
        """What `FileState.address_seal` is to be once those fields of the file are written."""
        known = self._known.get(path)
        return None if known is None else self._seal.standing(replace(known, **changes))

    def with_session(self, path: str, uri: SessionUri, object_path: str | None) -> str | None:
        """As `after`, of a session that is opened for the object at ``object_path``."""
        empty = {"checkpoint": PrefixCrc(), "mark": PrefixCrc(), "gap": False, "unproven": False}
        return self.after(path, session=uri, url=None, object_path=object_path, **empty)

    def once_stored(self, new: StoredFile) -> str | None:
        """As `after`, of a file that is stored."""
        facts = {name: getattr(new, name) for name in _FACTS}
        return self.after(new.path, session=None, url=None, stored=True, **facts)


def check_all_stored(transaction: Transaction, job_id: int) -> None:
    """Raises ValueError if a file of the job is not stored."""
    unstored = exists().where(files.c.job_id == job_id, files.c.stored.is_(False))
    if transaction.connection.execute(select(unstored)).scalar_one():
        raise ValueError(f"job {job_id} has files that are not stored")


def require_stored(journal: Journal, job: Job) -> None:
    """All files of the job, as it was claimed, read at once, are stored by the word of their seals.

    Not in the write transaction, which others wait for, and only if there is a secret. Raises
    StoreError if they are not.
    """
    if journal.seal.secret is None:
        return
    with journal.reading() as connection, reading_job(job.id):
        found = [file_of(row) for row in connection.execute(_of(job.id))]
    check_files(journal.seal.run_of(job), found)
    if len(found) != job.files_total or not all(file.stored for file in found):
        raise unsealed(job.id)


def _of(job_id: int) -> Select[Any]:
    return select(files).where(files.c.job_id == job_id)
