"""add last few columns to posts table

Revision ID: 036d0a4565b7
Revises: af786b740296
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "036d0a4565b7"
down_revision = "af786b740296"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("published", sa.Boolean(), nullable=False, server_default="TRUE"))
    op.add_column(
        "posts",
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("NOW()")),
    )


def downgrade() -> None:
    op.drop_column("posts", "published")
    op.drop_column("posts", "created_at")
