"""add foreign-key to posts table

Revision ID: af786b740296
Revises: 8c82b1632f52
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "af786b740296"
down_revision = "8c82b1632f52"
branch_labels = None
depends_on = None

# Posts that were written before there were accounts go to this one, and so do those that get an owner back
# whose account was deleted while this revision was taken back. The password is no hash of anything,
# so nobody can log in; it also tells this account from one that somebody registered.
EMAIL = "nobody@folkmoot.invalid"
PASSWORD = "!"  # noqa: S105
UNOWNED = "NOT EXISTS (SELECT FROM users WHERE users.id = posts.owner_id)"


def upgrade() -> None:
    op.add_column("posts", sa.Column("owner_id", sa.Integer(), nullable=True))
    op.execute(
        f"INSERT INTO users (email, password) SELECT '{EMAIL}', '{PASSWORD}' "
        f"WHERE EXISTS (SELECT FROM posts WHERE {UNOWNED}) ON CONFLICT (email) DO NOTHING"
    )
    op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
        "posts",
        {"owner_id": sa.text(f"(SELECT id FROM users WHERE email = '{EMAIL}')")},
        where=UNOWNED,
    )
    op.alter_column("posts", "owner_id", nullable=False)
    op.create_foreign_key(
        "post_users_fk",
        source_table="posts",
        referent_table="users",
        local_cols=["owner_id"],
        remote_cols=["id"],
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_constraint("post_users_fk", table_name="posts")
    # The account stays: the owners that are kept refer to it.
    op.drop_column("posts", "owner_id")
