"""add phone number

Revision ID: c47ecbf163d4
Revises: 036aa392dfb0
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "c47ecbf163d4"
down_revision = "036aa392dfb0"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("phone_number", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("users", "phone_number")
