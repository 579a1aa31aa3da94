"""Adds which version of an object the server made of a file."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("files", sa.Column("generation", sa.BigInteger))
