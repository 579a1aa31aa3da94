"""Adds whether a SHA-256 is that of the bytes as they were sent; of those before nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    column = sa.Column("sha256_as_sent", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("files", column)
