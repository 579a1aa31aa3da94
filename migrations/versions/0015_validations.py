"""Adds since when a validateUpload is under way whose answer nobody has heard."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("validating_since", sa.DateTime(timezone=True)))
