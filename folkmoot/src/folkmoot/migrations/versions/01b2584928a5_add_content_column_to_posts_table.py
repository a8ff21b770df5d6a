"""add content column to posts table

Revision ID: 01b2584928a5
Revises: cfcc4fd02d18
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "01b2584928a5"
down_revision = "cfcc4fd02d18"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The default gives posts that are already there an empty content, without touching their rows.
    op.add_column("posts", sa.Column("content", sa.String(), nullable=False, server_default=""))
    op.alter_column("posts", "content", server_default=None)


def downgrade() -> None:
    op.drop_column("posts", "content")
