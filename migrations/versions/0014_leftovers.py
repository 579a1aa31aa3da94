"""Adds the sessions that are to be ended before anybody sends to their model.

Those that earlier runs of a job left open until now are not known any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PATH = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "leftovers",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("base_url", sa.String, nullable=False),
        sa.Column("account", sa.String, nullable=False),
        sa.Column("model_id", sa.String, nullable=False),
        sa.Column("path", _PATH, nullable=False),
        sa.Column("session_uri", sa.Text, nullable=False),
        sa.Column("session_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("address_seal", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("leftovers_by_job", "leftovers", ["job_id"])
    op.create_index("leftovers_by_model", "leftovers", ["model_id"])
