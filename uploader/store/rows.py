"""Rows as the values of `core/job.py`, and the one query that sums a job's files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.exc import DBAPIError

from uploader.core.documents import FindingJson
from uploader.core.errors import JobRefused, NotFound, UnreadableRow
from uploader.core.job import (
    ACCOUNT_ID,
    MODEL_ID,
    MOST,
    SHA256,
    UNKNOWN_ACCOUNT,
    Event,
    FileState,
    Job,
    Kind,
    Lease,
    Mode,
    PrefixCrc,
    Reason,
    Stage,
    Status,
)
from uploader.core.keeping import few_lines
from uploader.core.redact import SessionUri, foreign_line
from uploader.core.resumable import UploadUrl, read_url
from uploader.core.text import flaw_of_path, sendable
from uploader.core.utf8 import check_json
from uploader.core.whole_job import WholeJob
from uploader.store.database import dialect
from uploader.store.tables import UtcDateTime, events, files, jobs


def _sum(name: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.sum(column).label(name)


def _whole_or(part: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((files.c.stored, files.c.size_bytes), else_=part)


_FURTHEST = case((files.c.mark_bytes > files.c.offset, files.c.mark_bytes), else_=files.c.offset)

_SUMS = (
    func.count().label("files_total"),
    _sum("files_stored", case((files.c.stored, 1), else_=0)),
    _sum("bytes_total", files.c.size_bytes),
    _sum("bytes_confirmed", _whole_or(files.c.offset)),
    _sum("bytes_marked", _whole_or(_FURTHEST)),
    _sum("bytes_sent", files.c.bytes_sent),
    func.min(files.c.awaiting_since).label("awaiting_since"),
)


#: A body with more characters names hundreds of files.
_MOST_LISTED_CHARS = 64 << 10
_IS_LARGE = func.length(cast(jobs.c.create_body, Text)) > _MOST_LISTED_CHARS
#: A list shows nothing of that body, so a large one stays in the database; any other is read, to
#: see whether its row can be.
_LISTED = tuple(
    case((_IS_LARGE, literal({}, JSON)), else_=column).label(column.name)
    if column is jobs.c.create_body
    else column
    for column in jobs.c
)


def _jobs_of(
    which: Callable[[ColumnElement[Any]], ColumnElement[bool]],
    columns_of_jobs: Iterable[ColumnElement[Any]],
) -> Select[Any]:
    """Those columns of jobs and the sums over their files, by id; ``which`` is about an id.

    The files are summed by themselves and only then joined: a job's columns, which may be large,
    are read once and not for each of its files.
    """
    sums = select(files.c.job_id, *_SUMS).where(which(files.c.job_id))
    of_files = sums.group_by(files.c.job_id).subquery()
    columns = (column for column in of_files.c if column.name != "job_id")
    return (
        select(*columns_of_jobs, *columns)
        .select_from(jobs.outerjoin(of_files, of_files.c.job_id == jobs.c.id))
        .where(which(jobs.c.id))
        .order_by(jobs.c.id)
    )


def listed_jobs_of(which: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> Select[Any]:
    """The rows of a list of those jobs, for `listed_of`; ``which`` is about an id."""
    return _jobs_of(which, _LISTED)


_ONE_JOB = _jobs_of(lambda job_id: job_id == bindparam("wanted"), jobs.c)


_MAX_WORDS_CHARS = 200


@contextlib.contextmanager
def reading_job(job_id: int) -> Iterator[None]:
    """Wraps the reading of one job's rows. Raises UnreadableRow."""
    try:
        yield
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UnreadableRow(job_id, foreign_line(str(error), _MAX_WORDS_CHARS)) from error
    except DBAPIError as error:
        if not dialect.is_about_a_row(error):
            raise
        raise UnreadableRow(job_id, "a value cannot be read") from None


def read_job(connection: Connection, job_id: int) -> WholeJob:
    """Raises NotFound, and UnreadableRow."""
    with reading_job(job_id):
        row = connection.execute(_ONE_JOB, {"wanted": job_id}).one_or_none()
        if row is not None:
            return _job_of(row)
    raise NotFound(f"there is no job {job_id}", hint="`uploader status` lists the jobs")


_CRCS = 1 << 32
#: What JSON columns hold; what every other column holds follows from its type.
_JSON: dict[str, type] = {"create_body": dict, "options": dict, "preflight": list, "warnings": list}


#: Counts go up by one: what is far from both ends stays so.
_MOST: dict[type, int] = {Integer: 10**9, BigInteger: MOST, Float: MOST}
#: They are compared and shown, but nobody reckons with them.
_NAMES = frozenset({"id", "job_id", "seq", "priority", "generation"})

#: The place of a column in a row, its name, the types that it may have, and its highest number.
Types = tuple[tuple[int, str, frozenset[type], int | None], ...]


def types_of(columns: Iterable[Column[Any]]) -> Types:
    """What those columns may hold, for `check`."""
    found = []
    for place, column in enumerate(columns):
        is_time = isinstance(column.type, UtcDateTime)
        kind = datetime if is_time else _JSON.get(column.name) or column.type.python_type
        kinds = {kind}
        kinds |= {int} if kind is float else set()
        kinds |= {type(None)} if column.nullable else set()
        found.append((place, column.name, frozenset(kinds), _most(column)))
    return tuple(found)


def _most(column: Column[Any]) -> int | None:
    return None if column.name in _NAMES else _MOST.get(type(column.type))


_JOB, _FILE, _EVENT = (types_of(table.columns) for table in (jobs, files, events))


def check(row: Row[Any], types: Types) -> None:
    """Raises ValueError for a value of another type, or a number with which nobody can reckon.

    SQLite keeps any value in any column, and PostgreSQL any number. The columns of ``types`` come
    first in ``row``.
    """
    for place, name, allowed, most in types:
        value = row[place]
        if type(value) not in allowed:
            raise ValueError(f"{name} has a value of another type")
        if most is not None and value is not None and not 0 <= value <= most:
            raise ValueError(f"{name} is out of range")


def _check_names(row: Row[Any]) -> None:
    """Names go into commands that people copy. Raises ValueError for one that nobody may give."""
    if row.account != UNKNOWN_ACCOUNT and not ACCOUNT_ID.fullmatch(row.account):
        raise ValueError("account is not the id of an account")
    if not MODEL_ID.fullmatch(row.model_id):
        raise ValueError("model_id is not the id of a model")
    for path in filter(None, (row.path, row.snapshot)):
        if not PurePosixPath(path).is_absolute() or flaw_of_path(path):
            raise ValueError("a folder has no whole path")


def _check_lists(row: Row[Any]) -> None:
    """Raises ValueError for JSON of another shape than the program writes, or that is not UTF-8."""
    for name in ("options", "preflight", "warnings"):
        try:
            check_json(getattr(row, name))
        except ValueError:
            raise ValueError(f"{name} has a value that cannot be shown") from None
    if not all(isinstance(one, str) for one in row.warnings):
        raise ValueError("a warning is not text")
    for one in row.preflight:
        if not isinstance(one, dict) or not one.keys() >= FindingJson.__required_keys__:
            raise ValueError("preflight has something that is not a finding")
        if not all(isinstance(word, str) for word in one.values()):
            raise ValueError("preflight has a finding that is not text")
    if not isinstance(row.create_body.get("model", {}), dict):
        raise ValueError("create_body describes no model")  # noqa: TRY004 - a value, not a type


def _check_job(row: Row[Any]) -> None:
    check(row, _JOB)
    _check_names(row)
    _check_lists(row)


def listed_of(row: Row[Any]) -> Job:
    """A job of a row of `listed_jobs_of`; raises as `_job_of`."""
    return _job_of(row).listed()


def _job_of(row: Row[Any]) -> WholeJob:
    """A job of a row of `_jobs_of`. Raises ValueError for a value that the program never writes."""
    _check_job(row)
    return WholeJob(
        id=row.id,
        base_url=row.base_url,
        account=row.account,
        model_id=row.model_id,
        path=row.path,
        snapshot=row.snapshot,
        kind=Kind(row.kind),
        create_body=row.create_body,
        stage=Stage(row.stage),
        status=Status(row.status),
        created_at=row.created_at,
        updated_at=row.updated_at,
        reason=_reason_of(row),
        priority=row.priority,
        run_number=row.run_number,
        files_run=row.files_run,
        attempts=row.attempts,
        failures=row.failures,
        not_before=row.not_before,
        model_exists=row.model_exists,
        created_remotely=row.created_remotely,
        model_created_at=row.model_created_at,
        start_accepted=row.start_accepted,
        plain_put=row.plain_put,
        urls_until=row.urls_until,
        recreations=row.recreations,
        delete_on_cancel=row.delete_on_cancel,
        replace_first=row.replace_first,
        upload_started_at=row.upload_started_at,
        uploaded_at=row.uploaded_at,
        polling_s=row.polling_s,
        rate_bps=row.rate_bps,
        ready_at=row.ready_at,
        lease=Lease(row.id, row.lease_owner, row.lease_token) if row.lease_token else None,
        warnings=few_lines(row.warnings, str),
        preflight=tuple(row.preflight),
        options=row.options,
        # A job without files has no sums; databases other than SQLite sum integers into decimals.
        files_total=int(row.files_total or 0),
        files_stored=int(row.files_stored or 0),
        bytes_total=int(row.bytes_total or 0),
        bytes_confirmed=int(row.bytes_confirmed or 0),
        bytes_marked=int(row.bytes_marked or 0),
        bytes_sent=int(row.bytes_sent or 0),
        awaiting_since=row.awaiting_since if row.lease_token else None,
        seal=row.seal,
    )


def _reason_of(row: Row[Any]) -> Reason | None:
    if row.reason_code is None:
        return None
    return Reason(row.reason_code, row.reason_message or "", row.reason_hint or "")


def file_of(row: Row[Any]) -> FileState:
    """Raises ValueError for a name that no scan can find: it may lead out of the folder."""
    check_plain(row.path)
    check(row, _FILE)
    if any(not 0 <= crc < _CRCS for crc in (row.offset_crc32c, row.mark_crc32c, row.crc32c or 0)):
        raise ValueError("a CRC32C does not fit into 32 bits")
    if row.sha256 is not None and not SHA256.fullmatch(row.sha256):
        raise ValueError("a SHA-256 is not one")
    return FileState(
        job_id=row.job_id,
        path=row.path,
        size_bytes=row.size_bytes,
        fingerprint=row.fingerprint,
        mode=Mode(row.mode),
        session=SessionUri(row.session_uri) if row.session_uri else None,
        session_at=row.session_at,
        url=_url_of(row.upload_url) if row.upload_url else None,
        object_path=row.object_path,
        sessions=row.sessions,
        old_sessions_lost=row.old_sessions_lost,
        sessions_lost=row.sessions_lost,
        furthest=row.furthest,
        checkpoint=PrefixCrc(row.offset, row.offset_crc32c),
        mark=PrefixCrc(row.mark_bytes, row.mark_crc32c),
        bytes_sent=row.bytes_sent,
        awaiting_since=row.awaiting_since,
        stored=row.stored,
        verified=row.verified,
        crc32c=row.crc32c,
        generation=row.generation,
        sha256=row.sha256,
        sha256_as_sent=row.sha256_as_sent,
        unproven=row.unproven,
        gap=row.gap,
        reached=row.reached,
        mismatches=row.mismatches,
        attempts=row.attempts,
        failures=row.failures,
        not_before=row.not_before,
        last_error=row.last_error,
        seal=row.seal,
        address_seal=row.address_seal,
    )


def check_plain(path: object) -> None:
    """Raises ValueError for a file's path that is not a plain name, as a scan finds it."""
    if not isinstance(path, str) or "/" in path or path in ("", ".", "..") or not sendable(path):
        raise ValueError("a file's path is not a plain name")


def _url_of(text: str) -> UploadUrl:
    try:
        return read_url(text)
    except JobRefused:
        raise ValueError("an upload URL is not a URL") from None


def event_of(row: Row[Any]) -> Event:
    """An event of a row of the table. Raises ValueError for a value that is never written."""
    check(row, _EVENT)
    return Event(row.seq, row.job_id, row.at, row.kind, row.message, row.path)
