"""Adds what a session holds without having been sent it, and the most that it has confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    gap = sa.Column("gap", sa.Boolean, nullable=False, server_default=sa.false())
    reached = sa.Column("reached", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("files", gap)
    op.add_column("files", reached)
