"""Seals: what shows that a row was written by somebody who has the secret of the job table.

Rows say which files are sent, and where. In a file only its owner writes them; in a PostgreSQL
database others may, too. With a secret that they do not have, what they write is not believed: a
seal is an HMAC over what a row names, its place in the table included, so that it is good for no
other row. It is made of what we write, never of what is read back: that may be somebody else's
already. What a row says about progress needs none: the services are asked about that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import NewType

from uploader.core.job import FileState, Job

#: A job that this program alone made: a new one, or one whose seal was checked as it was read
#: (`store/sealed.py`). Only such a value is sealed, and only of such a one is a new run planned: a
#: row that is read again may be another one by then.
SealedJob = NewType("SealedJob", Job)

_CONTEXT = b"uploader: the seals of a job table, 1"


@dataclass(frozen=True, slots=True)
class Seal:
    """Makes and checks seals. Without a ``secret`` there are none, and every row is believed."""

    secret: bytes | None = field(default=None, repr=False)

    def job(self, job: SealedJob) -> str | None:
        """What `Job.seal` is to be."""
        return self._job(job)

    def _job(self, job: Job) -> str | None:
        """Over the folder, the model, the body that creates it.

        And how many files there are, with how many bytes: each file has its own seal, so that none
        can be added, and with these none can be left out.
        """
        return self._over(
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
        )

    def file(self, job_id: int, path: str, size_bytes: int, fingerprint: str) -> str | None:
        """What `FileState.seal` is to be: that this file belongs to that job."""
        return self._over("file", job_id, path, size_bytes, fingerprint)

    def address(self, job_id: int, path: str, address: str | None) -> str | None:
        """What `FileState.address_seal` is to be: over its session URI or its upload URL."""
        return None if address is None else self._over("address", job_id, path, address)

    def holds_job(self, job: Job) -> bool:
        """Was the job written with the secret?"""
        return _same(self._job(job), job.seal)

    def holds_file(self, file: FileState) -> bool:
        """Was it written with the secret that this file belongs to its job?"""
        own = self.file(file.job_id, file.path, file.size_bytes, file.fingerprint)
        return _same(own, file.seal)

    def holds_address(self, file: FileState) -> bool:
        """Was the address to which the file goes, if there is one, written with the secret?"""
        found = (file.session and file.session.reveal(), file.url and file.url.url.reveal())
        addresses = [one for one in found if one]
        return all(self.holds(file.job_id, file.path, one, file.address_seal) for one in addresses)

    def holds(self, job_id: int, path: str, address: str, seal: str | None) -> bool:
        """Is ``seal`` what `address` makes of that address?"""
        return _same(self.address(job_id, path, address), seal)

    def _over(self, *words: object) -> str | None:
        if self.secret is None:
            return None
        text = json.dumps(words, sort_keys=True, separators=(",", ":"))
        key = hmac.digest(self.secret, _CONTEXT, hashlib.sha256)
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


#: For a job table without a secret.
NO_SEAL = Seal()


def _same(own: str | None, found: str | None) -> bool:
    return own is None or hmac.compare_digest(own.encode(), (found or "").encode())
