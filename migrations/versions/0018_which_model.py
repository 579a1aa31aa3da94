"""Adds when the service created a job's model, which tells it from another one of its name."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("model_created_at", sa.DateTime(timezone=True)))
