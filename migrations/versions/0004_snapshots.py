"""Adds the folder of hard links that a job may read instead of the folder that was enqueued."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("snapshot", sa.Text))
