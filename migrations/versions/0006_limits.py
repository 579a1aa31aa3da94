"""Adds the limits that users choose while workers run, and the moves of the automatic one.

It is spelled out, like 0001: nothing here changes when `uploader.store.tables` does.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "limits",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.Text),
    )
    op.create_table(
        "moves",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
