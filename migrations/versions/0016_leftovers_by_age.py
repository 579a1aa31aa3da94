"""Finds the sessions that have ended by themselves without looking at all the others."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_index("leftovers_by_age", "leftovers", ["session_at"])
