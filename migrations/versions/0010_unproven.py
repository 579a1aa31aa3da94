"""Adds whether only CRC32C shows that a file that was touched is still what was sent of it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    column = sa.Column("unproven", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("files", column)
