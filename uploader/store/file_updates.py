"""What is written of many files of a job at once, each with values of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from sqlalchemy import bindparam, update

from uploader.core.job import Mode
from uploader.store.blank import NO_SESSION, NOT_STORED
from uploader.store.tables import files

_T = TypeVar("_T")
#: This many rows of a job are written at once.
_PORTION = 500
_ONE = (files.c.job_id == bindparam("job"), files.c.path == bindparam("named"))
#: A session is opened.
OPEN_SESSION = (
    update(files)
    .where(*_ONE)
    .values(
        NO_SESSION
        | {
            "mode": Mode.SESSION,
            "session_uri": bindparam("uri"),
            "session_at": bindparam("at"),
            "object_path": bindparam("place"),
            "upload_url": None,
            "address_seal": bindparam("sealed"),
            "sessions": files.c.sessions + 1,
        }
    )
)
#: The server has the whole object.
STORE = (
    update(files)
    .where(*_ONE)
    .values(
        session_uri=None,
        session_at=None,
        upload_url=None,
        address_seal=bindparam("sealed"),
        object_path=bindparam("place"),
        awaiting_since=None,
        offset=files.c.size_bytes,
        offset_crc32c=bindparam("crc"),
        mark_bytes=files.c.size_bytes,
        mark_crc32c=bindparam("crc"),
        bytes_sent=bindparam("sent"),
        stored=True,
        verified=bindparam("proven"),
        crc32c=bindparam("crc"),
        generation=bindparam("version"),
        sha256=bindparam("digest"),
        sha256_as_sent=bindparam("as_sent"),
        failures=0,
        not_before=None,
    )
)
#: Nothing of a file is stored, nor on its way.
FORGET = {**NO_SESSION, **NOT_STORED}


def portions(rows: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """As many at once as one statement, or one transaction for which others wait, may be about."""
    return (rows[at : at + _PORTION] for at in range(0, len(rows), _PORTION))
