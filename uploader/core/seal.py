"""Seals: what shows that a row was written by somebody who has the secret of the job table.

Rows say which files are sent, and where. In a file only its owner writes them; in a PostgreSQL
database others may, too. With a secret that they do not have, what they write is not believed: a
seal is an HMAC over what a row names, its place in the table included, so that it is good for no
other row. It is made of what we write, never of what is read back: that may be somebody else's
already. So are the facts by which bytes are believed: where a file goes, what is known of the bytes
that its session holds, that it is stored, and how far its job is with which model. What a row says
about anything else needs no seal.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NewType

from uploader.core.job import FileState, Job, Status
from uploader.core.whole_job import WholeJob

#: A job that this program alone made: a new one, or one whose seal was checked as it was read
#: (`store/sealed.py`). Only such a value is sealed, and only of such a one is a new run planned: a
#: row that is read again may be another one by then.
SealedJob = NewType("SealedJob", WholeJob)

_CONTEXT = b"uploader: the seals of a job table, 1"


@dataclass(frozen=True, slots=True)
class Seal:
    """Makes and checks seals. Without a ``secret`` there are none, and every row is believed."""

    secret: bytes | None = field(default=None, repr=False)

    def job(self, job: SealedJob) -> str | None:
        """What `Job.seal` is to be."""
        return self._job(job)

    def after(self, job: WholeJob, **changes: Any) -> str | None:
        """What `Job.seal` is to be once those fields of it are written; a wrong one stays as it is.

        So does any if there is no secret here: whoever has it wrote the job.
        """
        if self.secret is None or not self.holds_job(job):
            return job.seal
        return self._job(replace(job, **changes))

    def _job(self, job: WholeJob) -> str | None:
        """Over the folder, the model, the body that creates it.

        And how many files there are, with how many bytes: each file has its own seal, so that none
        can be added, and with these none can be left out. And how far the job is, and with which
        model, or whether that is to be replaced first: stored files are in that one, and in no
        other. A cancelled job never comes back.
        """
        return _over(
            self.secret,
            "job",
            job.id,
            job.base_url,
            job.account,
            job.model_id,
            job.path,
            job.snapshot,
            job.kind.value,
            dict(job.create_body),
            dict(job.options),
            job.files_total,
            job.bytes_total,
            job.run_number,
            job.stage.value,
            job.model_exists,
            job.created_remotely,
            job.status is Status.CANCELLED,
            _moment(job.created_at),
            # Earlier versions did not know it, and sealed what is still in the table.
            *(_moment(at) for at in (job.model_created_at,) if at),
            *(("replace",) if job.replace_first else ()),
            *(("files", job.files_run) if job.files_run else ()),
        )

    def run_of(self, job: Job) -> RunSeal:
        """For the files of the run that the job is in."""
        return RunSeal(self, job.id, job.created_at, job.run_number, job.files_run)

    def address(self, job_id: int, path: str, address: str) -> str | None:
        """The first half of `standing`, which a session keeps as long as anybody may end it."""
        return _over(self.secret, "address", job_id, path, address)

    def holds_job(self, job: WholeJob) -> bool:
        """Was the job written with the secret?"""
        return _same(self._job(job), job.seal)

    def holds_address(self, job_id: int, path: str, address: str, seal: str | None) -> bool:
        """Is that address the one in what `standing` made? Earlier versions made only that half."""
        return _same(self.address(job_id, path, address), (seal or "").partition(".")[0])


@dataclass(frozen=True, slots=True)
class RunSeal:
    """Makes and checks the seals of one run's files.

    A number alone does not say which job it is: that of a job that was removed can be given again.
    """

    base: Seal
    job_id: int
    created_at: datetime
    run_number: int
    files_run: int | None = None

    def file(self, path: str, size_bytes: int, fingerprint: str) -> str | None:
        """What `FileState.seal` is to be: that this file belongs to that snapshot of that job.

        In whichever run: a model that is created again by itself has the same files.
        """
        job = self.job_id, _moment(self.created_at)
        snapshot = (self.files_run,) if self.files_run else ()
        return _over(self.base.secret, "file", *job, path, size_bytes, fingerprint, *snapshot)

    def standing(self, file: FileState) -> str | None:
        """What `FileState.address_seal` is to be: two halves, with a point between them.

        The first one is `Seal.address`, of a file that has one. The second one is also over the run
        and the version of the file: over what is known of the bytes that its session holds, or over
        the object, if it is stored. None if nothing of that is known.
        """
        run = self.job_id, _moment(self.created_at), self.run_number
        version = (file.path, file.size_bytes, file.fingerprint)
        address = _address(file)
        facts: tuple[object, ...] = "url", address
        if file.stored:
            place = file.object_path, file.generation, file.verified
            facts = "stored", *place, file.crc32c, file.sha256, file.sha256_as_sent
        elif file.session is not None:
            pairs = astuple(file.checkpoint), astuple(file.mark)
            facts = "session", address, file.object_path, *pairs, file.gap, file.unproven
        if self.base.secret is None or not (address or file.stored):
            return None
        own = self.base.address(self.job_id, file.path, address) if address else None
        known = _over(self.base.secret, "standing", *run, *version, *facts)
        return f"{own or ''}.{known}"

    def holds_file(self, file: FileState) -> bool:
        """Was it written with the secret that this file belongs to its job?"""
        return _same(self.file(file.path, file.size_bytes, file.fingerprint), file.seal)

    def holds_standing(self, file: FileState) -> bool:
        """Was it written with the secret where the file goes in this run, or that it is stored?"""
        if sum(map(bool, (file.session, file.url, file.stored))) > 1:
            return self.base.secret is None  # no such row is ever written
        return _same(self.standing(file), file.address_seal)


#: For a job table without a secret.
NO_SEAL = Seal()


def _over(secret: bytes | None, *words: object) -> str | None:
    """A seal over those words, the first of which says what they are."""
    if secret is None:
        return None
    text = json.dumps(words, sort_keys=True, separators=(",", ":"))
    key = hmac.digest(secret, _CONTEXT, hashlib.sha256)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _same(own: str | None, found: str | None) -> bool:
    return own is None or hmac.compare_digest(own.encode(), (found or "").encode())


def _address(file: FileState) -> str | None:
    if file.session is not None:
        return file.session.reveal()
    return None if file.url is None else file.url.url.reveal()


def _moment(at: datetime) -> str:
    """As it is written and read again, whatever the zone of the one or the other."""
    return at.astimezone(UTC).isoformat()
