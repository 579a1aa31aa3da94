"""Adds columns for what the history, memory, or one column with two meanings stood for.

It is spelled out, like 0001: nothing here changes when `uploader.store.tables` does. Columns
are added, renamed and dropped in place, which keeps constraints and SQLite's numbering of ids.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _add_columns()
    for statement in (*_JOBS, _FILES):
        op.execute(statement)
    for tail in _APPENDED:
        op.execute(_SPELLED_ONCE.bindparams(tail=tail, length=len(tail)))
    _drop_columns()


def _add_columns() -> None:
    for name in ("model_exists", "delete_on_cancel", "replace_first"):
        column = sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
        op.add_column("jobs", column)
    op.add_column("jobs", sa.Column("upload_started_at", _MOMENT))
    op.add_column("jobs", sa.Column("uploaded_at", _MOMENT))
    op.add_column("jobs", sa.Column("urls_until", _MOMENT))
    op.add_column("files", sa.Column("upload_url", sa.Text))
    op.add_column("files", sa.Column("awaiting_since", _MOMENT))
    op.add_column(
        "files", sa.Column("fingerprint", sa.Text, nullable=False, server_default=sa.text("''"))
    )
    for table, name in (("jobs", "recreations"), ("files", "sessions_lost"), ("files", "furthest")):
        count = sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
        op.add_column(table, count)


#: History is asked for the last time: is the model there, and how long did the upload take?
_JOBS = (
    """
    UPDATE jobs SET
        delete_on_cancel = (delete_remote AND status = 'cancelled'),
        replace_first = (delete_remote AND status <> 'cancelled'),
        model_exists = (
            stage <> 'create'
            OR coalesce((
                SELECT kind <> 'deleted' FROM events
                WHERE job_id = jobs.id AND kind IN ('created', 'adopted', 'deleted')
                ORDER BY seq DESC LIMIT 1
            ), false)
        )
    """,
    """
    UPDATE jobs SET upload_started_at = (
        SELECT at FROM events
        WHERE job_id = jobs.id AND kind IN ('created', 'adopted')
        ORDER BY seq DESC LIMIT 1
    ) WHERE stage <> 'create'
    """,
    """
    UPDATE jobs SET uploaded_at = (
        SELECT at FROM events
        WHERE job_id = jobs.id AND kind = 'validating' AND seq > (
            SELECT max(seq) FROM events
            WHERE job_id = jobs.id AND kind IN ('created', 'adopted')
        )
        ORDER BY seq LIMIT 1
    ) WHERE stage IN ('validate', 'ready')
    """,
)
_FILES = """
    UPDATE files
    SET fingerprint = 'local:' || CAST(mtime_ns AS TEXT) || ':' || CAST(inode AS TEXT)
"""


#: What one reading of a base URL left in a row and another took away: no worker took the job.
_APPENDED = ("/inference", ":443")
#: Without its tail, unless an open job stands under that address already.
_SPELLED_ONCE = sa.text(
    """
    UPDATE jobs SET base_url = substr(jobs.base_url, 1, length(jobs.base_url) - :length)
    WHERE base_url LIKE 'https://%' || :tail AND NOT EXISTS (
        SELECT 1 FROM jobs AS other
        WHERE other.base_url = substr(jobs.base_url, 1, length(jobs.base_url) - :length)
            AND other.account = jobs.account AND other.model_id = jobs.model_id
            AND other.status IN ('active', 'paused', 'blocked', 'failed')
    )
    """
)


def _drop_columns() -> None:
    op.execute("ALTER TABLE jobs RENAME COLUMN life TO run_number")
    op.execute("ALTER TABLE jobs DROP COLUMN delete_remote")
    for name in ("mtime_ns", "inode"):
        op.execute(f"ALTER TABLE files DROP COLUMN {name}")
