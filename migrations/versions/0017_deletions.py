"""Adds since when a DELETE of a job's model is under way whose answer nobody has heard."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deleting_since", sa.DateTime(timezone=True)))
