"""make e-mail unique without regard to case, add display name

Accounts whose addresses differ by case alone may exist. None is lost or renamed: the oldest of them is found
by any spelling, the younger ones are marked and go on logging in by their exact spelling, which is unique as
before. The index leaves the marked ones out and refuses every new one.

Revision ID: 9b1e7c42d6fa
Revises: 5d0f3a9be1c7
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "9b1e7c42d6fa"
down_revision = "5d0f3a9be1c7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("display_name", sa.String(), nullable=True))
    op.add_column(
        "users", sa.Column("duplicate_email", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False)
    )
    op.execute(
        "UPDATE users SET duplicate_email = TRUE WHERE NOT duplicate_email AND EXISTS"
        " (SELECT FROM users AS older WHERE lower(older.email) = lower(users.email) AND older.id < users.id"
        "  AND NOT older.duplicate_email)"
    )
    op.create_index(
        "users_email_lower_key", "users", [sa.text("lower(email)")], unique=True,
        postgresql_where=sa.text("NOT duplicate_email"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("users_email_lower_key", table_name="users")
    op.drop_column("users", "duplicate_email")
    op.drop_column("users", "display_name")
