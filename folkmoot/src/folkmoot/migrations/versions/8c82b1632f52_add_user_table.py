"""add user table

Revision ID: 8c82b1632f52
Revises: 01b2584928a5
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "8c82b1632f52"
down_revision = "01b2584928a5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )


def downgrade() -> None:
    op.drop_table("users")
