"""Adds the seals of rows that only somebody with the secret of the job table can have written."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("seal", sa.Text))
    op.add_column("files", sa.Column("seal", sa.Text))
    op.add_column("files", sa.Column("address_seal", sa.Text))
