"""The tables: jobs, their files and leftovers, the append-only history; limits, and their moves.

The database itself refuses what it can: unknown words, an offset beyond the end of its file, a
stored file short of its size, a second open job for one model. A change here needs a migration; a
test holds the two together. The indexes are in `indexes.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    false,
    text,
)

from uploader.core.job import ENDED_STATUSES, OPEN_STATUSES, Mode, Stage, Status
from uploader.core.lifecycle import Verb, sources
from uploader.store.database.moments import within


class UtcDateTime(TypeDecorator[datetime]):
    """Takes an aware time and gives an aware one in UTC; a naive time raises ValueError."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What is stored: in UTC. Raises ValueError for a naive time."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """What is read: aware, in UTC."""
        del dialect
        if value is None:
            return None
        # SQLite returns what it was given, without the zone.
        moment: datetime = value
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return within(aware)


def _words(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


#: SQLite never reuses ids only with AUTOINCREMENT, which needs exactly INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")

#: Sort by bytes, as SQLite does: then neither order nor index depends on a server's locale.
_Path = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("base_url", String, nullable=False),
    Column("account", String, nullable=False),
    Column("model_id", String, nullable=False),
    Column("path", Text, nullable=False),
    Column("snapshot", Text),
    Column("kind", String, nullable=False),
    Column("create_body", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("preflight", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("stage", String, nullable=False),
    Column("status", String, nullable=False),
    Column("reason_code", String),
    Column("reason_message", Text),
    Column("reason_hint", Text),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("run_number", Integer, nullable=False, server_default=text("1")),
    Column("files_run", Integer),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("rescues", Integer, nullable=False, server_default=text("0")),
    Column("not_before", UtcDateTime),
    Column("model_exists", Boolean, nullable=False, server_default=false()),
    Column("created_remotely", Boolean, nullable=False, server_default=false()),
    Column("model_created_at", UtcDateTime),
    Column("start_accepted", Boolean, nullable=False, server_default=false()),
    Column("plain_put", Boolean, nullable=False, server_default=false()),
    Column("urls_until", UtcDateTime),
    Column("recreations", BigInteger, nullable=False, server_default=text("0")),
    Column("delete_on_cancel", Boolean, nullable=False, server_default=false()),
    Column("replace_first", Boolean, nullable=False, server_default=false()),
    Column("upload_started_at", UtcDateTime),
    Column("uploaded_at", UtcDateTime),
    Column("validating_since", UtcDateTime),
    Column("deleting_since", UtcDateTime),
    Column("polling_s", Float, nullable=False, server_default=text("0")),
    Column("rate_bps", Float),
    Column("lease_owner", String),
    Column("lease_token", String),
    Column("lease_expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("ready_at", UtcDateTime),
    Column("seal", Text),
    CheckConstraint(f"stage IN ({_words(Stage)})", name="jobs_stage_known"),
    CheckConstraint(f"status IN ({_words(Status)})", name="jobs_status_known"),
    CheckConstraint(
        "(lease_owner IS NULL) = (lease_token IS NULL)", name="jobs_lease_whole_or_none"
    ),
    sqlite_autoincrement=True,
)

#: The conditions of the partial indexes. A database uses such an index only for a query that says
#: the same in literal words, so queries take them from here.
OPEN = text(f"status IN ({_words(OPEN_STATUSES)})")
ENDED = text(f"status IN ({_words(ENDED_STATUSES)})")
BLOCKED = text(f"status IN ({_words(sources(Verb.HEAL))})")
HELD = text("lease_owner IS NOT NULL")
TO_DELETE = text(f"status = '{Status.CANCELLED}' AND delete_on_cancel")
HAS_SESSION = text("session_uri IS NOT NULL")
WAITING = text(f"not_before IS NOT NULL AND status IN ('{Status.ACTIVE}', '{Status.CANCELLED}')")


def active_in(stages: Collection[Stage]) -> TextClause:
    """The condition of an active job in one of ``stages``; indexed for each of the `POOLS`."""
    words = _words(stage for stage in Stage if stage in stages)
    return text(f"status = '{Status.ACTIVE}' AND stage IN ({words or 'NULL'})")


files = Table(
    "files",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("path", _Path, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("fingerprint", Text, nullable=False, server_default=text("''")),
    Column("mode", String, nullable=False, server_default=Mode.SESSION.value),
    Column("session_uri", Text),
    Column("session_at", UtcDateTime),
    Column("upload_url", Text),
    Column("object_path", Text),
    Column("sessions", Integer, nullable=False, server_default=text("0")),
    Column("old_sessions_lost", Integer, nullable=False, server_default=text("0")),
    Column("sessions_lost", BigInteger, nullable=False, server_default=text("0")),
    Column("furthest", BigInteger, nullable=False, server_default=text("0")),
    Column("offset", BigInteger, nullable=False, server_default=text("0")),
    Column("offset_crc32c", BigInteger, nullable=False, server_default=text("0")),
    Column("mark_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("mark_crc32c", BigInteger, nullable=False, server_default=text("0")),
    Column("bytes_sent", BigInteger, nullable=False, server_default=text("0")),
    Column("awaiting_since", UtcDateTime),
    Column("stored", Boolean, nullable=False, server_default=false()),
    Column("verified", Boolean, nullable=False, server_default=false()),
    Column("crc32c", BigInteger),
    Column("generation", BigInteger),
    Column("sha256", String),
    Column("sha256_as_sent", Boolean, nullable=False, server_default=false()),
    Column("unproven", Boolean, nullable=False, server_default=false()),
    Column("gap", Boolean, nullable=False, server_default=false()),
    Column("reached", BigInteger, nullable=False, server_default=text("0")),
    Column("mismatches", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("not_before", UtcDateTime),
    Column("last_error", Text),
    Column("seal", Text),
    Column("address_seal", Text),
    CheckConstraint(f"mode IN ({_words(Mode)})", name="files_mode_known"),
    CheckConstraint('"offset" BETWEEN 0 AND size_bytes', name="files_offset_within"),
    CheckConstraint("mark_bytes BETWEEN 0 AND size_bytes", name="files_mark_within"),
    CheckConstraint('NOT stored OR "offset" = size_bytes', name="files_stored_whole"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("path", Text),
    sqlite_autoincrement=True,
)

#: Sessions that are to be ended before anybody sends to the model. Neither the job that opened one
#: nor its file need be there any longer.
leftovers = Table(
    "leftovers",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, nullable=False),
    Column("base_url", String, nullable=False),
    Column("account", String, nullable=False),
    Column("model_id", String, nullable=False),
    Column("path", _Path, nullable=False),
    Column("session_uri", Text, nullable=False),
    Column("session_at", UtcDateTime, nullable=False),
    Column("address_seal", Text),
    sqlite_autoincrement=True,
)

#: What users chose by `limit`; a value of NULL is as configured.
limits = Table(
    "limits",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text),
)

#: What workers decided about their number of files in flight; only the newest are kept.
moves = Table(
    "moves",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("owner", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("files", Integer, nullable=False),
    Column("message", Text, nullable=False),
    sqlite_autoincrement=True,
)
