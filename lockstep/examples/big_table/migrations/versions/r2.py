"""every event has a kind"""

from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.backfill("events", {"kind": "other"}, where="kind IS NULL")
    op.alter_column("events", "kind", nullable=False)


def downgrade() -> None:
    op.alter_column("events", "kind", nullable=True)
