"""The two tables of the outbox: how far each hook has been told, and what it has yet to be told."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    false,
    text,
)

from uploader.store.tables import UtcDateTime, metadata

big_id = BigInteger().with_variant(Integer(), "sqlite")

hooks = Table(
    "hooks",
    metadata,
    Column("name", String, primary_key=True),
    #: The number of the last event that was looked at for it.
    Column("cursor", big_id, nullable=False),
    #: It has answered 410: it is told nothing more until `uploader hooks retry`.
    Column("off", Boolean, nullable=False, server_default=false()),
    Column("last_error", Text),
    Column("last_at", UtcDateTime),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", big_id, primary_key=True),
    Column("hook", String, ForeignKey("hooks.name"), nullable=False),
    Column("job_id", big_id, nullable=False),
    Column("seq", big_id, nullable=False),
    Column("kind", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("document", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("not_before", UtcDateTime),
    Column("last_error", Text),
    sqlite_autoincrement=True,
)
