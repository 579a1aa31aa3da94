"""Adds the outbox of the hooks: how far each was told, and what waits for it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_MOMENT = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hooks",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("cursor", _ID, nullable=False),
        sa.Column("off", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("last_error", sa.Text),
        sa.Column("last_at", _MOMENT),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("hook", sa.String, sa.ForeignKey("hooks.name"), nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("seq", _ID, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("message_id", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("not_before", _MOMENT),
        sa.Column("last_error", sa.Text),
        sqlite_autoincrement=True,
    )
