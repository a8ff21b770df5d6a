"""count words

What a search costs has a bound only if it is known which words are common: PostgreSQL is to keep 10,000 of
them instead of 1,000. Of a million posts, what is not among them is then in a few hundred. And the index on
words keeps fewer new posts in a list that each search reads from end to end.

Revision ID: b3f7a2c90e54
Revises: 6c4e1f90b2d7
Create Date: 2026-11-28
"""

from alembic import op

revision = "b3f7a2c90e54"
down_revision = "6c4e1f90b2d7"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER INDEX posts_document SET (gin_pending_list_limit = 256)")
    op.execute("ALTER TABLE posts ALTER COLUMN document SET STATISTICS 1000")
    op.execute("ANALYZE posts (document)")


def downgrade() -> None:
    op.execute("ALTER INDEX posts_document RESET (gin_pending_list_limit)")
    op.execute("ALTER TABLE posts ALTER COLUMN document SET STATISTICS -1")
