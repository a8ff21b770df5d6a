"""events"""

import sqlalchemy as sa
from alembic import op

revision = "r1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("kind", sa.Text()),
        sa.Column("at", sa.DateTime(timezone=True)),
    )
    op.execute(
        "INSERT INTO events (kind, at) SELECT CASE WHEN n % 3 = 0 THEN 'view' END, "
        "TIMESTAMPTZ '2026-01-01 00:00Z' + n * interval '1 second' FROM generate_series(1, 50000) n"
    )


def downgrade() -> None:
    op.drop_table("events")
