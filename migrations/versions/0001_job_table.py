"""The job table: jobs, files, events.

It is spelled out, not taken from `uploader.store.tables`: that file changes, this never does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)
_ZERO = sa.text("0")
_OPEN = sa.text("status IN ('active', 'paused', 'blocked', 'failed')")


def upgrade() -> None:
    _create_jobs()
    _create_files()
    _create_events()


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("base_url", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("model_id", sa.String, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("create_body", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("preflight", sa.JSON, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("reason_code", sa.String),
        sa.Column("reason_message", sa.Text),
        sa.Column("reason_hint", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("life", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("failures", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("not_before", _MOMENT),
        sa.Column("created_remotely", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("start_accepted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("plain_put", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("delete_remote", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("polling_s", sa.Float, nullable=False, server_default=_ZERO),
        sa.Column("rate_bps", sa.Float),
        sa.Column("lease_owner", sa.String),
        sa.Column("lease_token", sa.String),
        sa.Column("lease_expires_at", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("ready_at", _MOMENT),
        sa.CheckConstraint(
            "stage IN ('create', 'upload', 'validate', 'ready')", name="jobs_stage_known"
        ),
        sa.CheckConstraint(
            "status IN ('active', 'paused', 'blocked', 'failed', 'cancelled', 'done')",
            name="jobs_status_known",
        ),
        sa.CheckConstraint(
            "(lease_owner IS NULL) = (lease_token IS NULL)", name="jobs_lease_whole_or_none"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "jobs_one_open_per_model",
        "jobs",
        ["base_url", "account", "model_id"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("path", _PATH, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("inode", sa.BigInteger, nullable=False),
        sa.Column("mode", sa.String, nullable=False, server_default="session"),
        sa.Column("session_uri", sa.Text),
        sa.Column("session_at", _MOMENT),
        sa.Column("object_path", sa.Text),
        sa.Column("sessions", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("old_sessions_lost", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("offset", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("offset_crc32c", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("mark_bytes", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("mark_crc32c", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("bytes_sent", sa.BigInteger, nullable=False, server_default=_ZERO),
        sa.Column("stored", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("verified", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("crc32c", sa.BigInteger),
        sa.Column("mismatches", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("failures", sa.Integer, nullable=False, server_default=_ZERO),
        sa.Column("not_before", _MOMENT),
        sa.Column("last_error", sa.Text),
        sa.CheckConstraint("mode IN ('session', 'put')", name="files_mode_known"),
        sa.CheckConstraint('"offset" BETWEEN 0 AND size_bytes', name="files_offset_within"),
        sa.CheckConstraint("mark_bytes BETWEEN 0 AND size_bytes", name="files_mark_within"),
        sa.CheckConstraint('NOT stored OR "offset" = size_bytes', name="files_stored_whole"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _ID, primary_key=True),
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("path", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_job", "events", ["job_id", "seq"])
