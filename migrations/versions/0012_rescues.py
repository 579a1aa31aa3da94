"""Adds how many workers in a row have died while they held a job and before it came further."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    column = sa.Column("rescues", sa.Integer, nullable=False, server_default=sa.text("0"))
    op.add_column("jobs", column)
