"""Adds the SHA-256 of a file, which is computed while the file is sent."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("files", sa.Column("sha256", sa.String))
