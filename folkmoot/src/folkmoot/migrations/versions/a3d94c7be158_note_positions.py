"""note positions

A table of how far into the write-ahead log each person and each client has seen, where reads go to replicas:
unlogged, and so empty after a crash of the database and on a replica that was promoted.

Revision ID: a3d94c7be158
Revises: d7b30f5e12c9
Create Date: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "a3d94c7be158"
down_revision = "d7b30f5e12c9"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seen_positions",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        prefixes=["UNLOGGED"],
    )


def downgrade() -> None:
    op.drop_table("seen_positions")
