"""Adds the run in which the rows of a job's files were written: no row of another one is good."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("files_run", sa.Integer()))
