"""Adds the indexes that keep a large store as fast as a small one.

It is spelled out, like 0001: nothing here changes when `uploader.store.indexes` does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_CLAIMED = ["base_url", "priority", "not_before", "id"]


def upgrade() -> None:
    _partial("jobs_to_send", _CLAIMED, "status = 'active' AND stage IN ('create', 'upload')")
    _partial("jobs_to_validate", _CLAIMED, "status = 'active' AND stage IN ('validate')")
    _partial(
        "jobs_waiting",
        ["base_url", "not_before"],
        "not_before IS NOT NULL AND status IN ('active', 'cancelled')",
    )
    _partial("jobs_blocked", ["base_url"], "status IN ('blocked')")
    _partial("jobs_held", ["lease_owner"], "lease_owner IS NOT NULL")
    _partial("jobs_to_delete", ["base_url"], "status = 'cancelled' AND delete_on_cancel")
    _partial("jobs_ended", ["updated_at", "id"], "status IN ('cancelled', 'done')")
    _partial("files_with_session", ["job_id"], "session_uri IS NOT NULL")
    op.create_index("jobs_by_model", "jobs", ["model_id"])


def _partial(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    table = name.partition("_")[0]
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
