"""count comments

post_ranks.comments becomes the number of a post's comments, and comments.votes that of a comment's votes.
While people write and vote: each of them adds to a number, and adds nothing to null; the fill makes each null
a number, locking the row before it counts.

Revision ID: 07d3c5a18e94
Revises: e41b7f0c9a26
Create Date: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "07d3c5a18e94"
down_revision = "e41b7f0c9a26"
branch_labels = None
depends_on = None

# Two statements each, because the second has to see what those committed for whom the first waited.
COUNT = (
    """
CREATE FUNCTION count_comments(counted bigint) RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM post_ranks WHERE post_id = counted FOR NO KEY UPDATE;
    RETURN (SELECT count(*) FROM comments WHERE post_id = counted AND owner_id IS NOT NULL);
END $$
""",
    """
CREATE FUNCTION count_comment_votes(post bigint, comment bigint) RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM comments WHERE post_id = post AND id = comment FOR NO KEY UPDATE;
    RETURN (SELECT count(*) FROM comment_votes WHERE post_id = post AND comment_id = comment);
END $$
""",
)
NUMBERS = {
    ("post_ranks", "comments"): "count_comments(post_id)",
    ("comments", "votes"): "count_comment_votes(post_id, id)",
}


def upgrade() -> None:
    for function in COUNT:
        op.execute(function)
    for (table, column), number in NUMBERS.items():
        op.alter_column(table, column, existing_type=sa.Integer(), server_default=sa.text("0"))
        op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
            table, {column: sa.text(number)}, where=f"{column} IS NULL"
        )
        op.alter_column(table, column, existing_type=sa.Integer(), nullable=False)


def downgrade() -> None:
    for table, column in reversed(NUMBERS):
        op.alter_column(table, column, existing_type=sa.Integer(), nullable=True, server_default=None)
        op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
            table, {column: None}, where=f"{column} IS NOT NULL"
        )
    op.execute("DROP FUNCTION count_comments(bigint)")
    op.execute("DROP FUNCTION count_comment_votes(bigint, bigint)")
