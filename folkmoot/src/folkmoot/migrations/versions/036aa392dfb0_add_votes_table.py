"""add votes table

Revision ID: 036aa392dfb0
Revises: 036d0a4565b7
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "036aa392dfb0"
down_revision = "036d0a4565b7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "votes",
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("post_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "post_id"),
    )


def downgrade() -> None:
    op.drop_table("votes")
