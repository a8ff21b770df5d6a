"""moderate comments

A comment that is withheld, because an administrator removed it or its author is blocked, is a deleted one as
long as that lasts: `comments.owner_id` is null, so its place stays where it has answers, and nobody counts
it, answers it or votes on it, whichever program reads. Who wrote it and what it says stands in
`withheld_comments` meanwhile; the comment is not pruned as long as there is a row. The log and reports name
comments, too: reports of both kinds draw their ids from one sequence, so that they are one queue.

Revision ID: 3fa95c07be21
Revises: a3d94c7be158
Create Date: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "3fa95c07be21"
down_revision = "a3d94c7be158"
branch_labels = None
depends_on = None

# A blocked account has no session; this is for a comment that is being written in that moment. The lock is
# the foreign key's: whoever blocks the account comes before it, or withholds this comment, too.
PLACE = """
CREATE OR REPLACE FUNCTION place_comment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    blocked boolean;
BEGIN
    SELECT blocked_at IS NOT NULL INTO blocked FROM users WHERE id = NEW.owner_id FOR KEY SHARE;
    IF blocked THEN
        RAISE EXCEPTION 'Account % is blocked.', NEW.owner_id USING ERRCODE = 'foreign_key_violation';
    END IF;
    NEW.path := coalesce(
        (SELECT path FROM comments WHERE post_id = NEW.post_id AND id = NEW.parent_id), '{}'
    ) || NEW.id;
    RETURN NEW;
END $$
"""
PLACE_BEFORE = """
CREATE OR REPLACE FUNCTION place_comment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.path := coalesce(
        (SELECT path FROM comments WHERE post_id = NEW.post_id AND id = NEW.parent_id), '{}'
    ) || NEW.id;
    RETURN NEW;
END $$
"""
PRUNE = """
CREATE OR REPLACE FUNCTION prune_comments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint;
BEGIN
    IF TG_TABLE_NAME = 'withheld_comments' THEN
        deleted := OLD.comment_id;
    ELSIF TG_OP = 'DELETE' THEN
        deleted := OLD.parent_id;
    ELSE
        deleted := OLD.id;
    END IF;
    PERFORM FROM comments WHERE post_id = OLD.post_id AND id = deleted AND owner_id IS NULL FOR UPDATE;
    IF FOUND THEN
        DELETE FROM comments AS c
         WHERE c.post_id = OLD.post_id AND c.id = deleted
           AND NOT EXISTS (SELECT FROM comments AS a WHERE a.post_id = c.post_id AND a.parent_id = c.id)
           AND NOT EXISTS (SELECT FROM withheld_comments AS w WHERE w.post_id = c.post_id AND w.comment_id = c.id);
    END IF;
    RETURN NULL;
END $$
"""  # noqa: E501 - as the database has it
PRUNE_BEFORE = """
CREATE OR REPLACE FUNCTION prune_comments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    deleted bigint := CASE TG_OP WHEN 'DELETE' THEN OLD.parent_id ELSE OLD.id END;
BEGIN
    PERFORM FROM comments WHERE post_id = OLD.post_id AND id = deleted AND owner_id IS NULL FOR UPDATE;
    IF FOUND THEN
        DELETE FROM comments AS c
         WHERE c.post_id = OLD.post_id AND c.id = deleted
           AND NOT EXISTS (SELECT FROM comments AS a WHERE a.post_id = c.post_id AND a.parent_id = c.id);
    END IF;
    RETURN NULL;
END $$
"""  # noqa: E501 - as the database has it


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    op.create_table(
        "withheld_comments",
        sa.Column("post_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("comment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("removed_at", time, nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("post_id", "comment_id"),
    )
    op.create_index("withheld_comments_owner", "withheld_comments", ["owner_id", "comment_id"])
    op.create_table(
        "comment_reports",
        sa.Column(
            "report_id", sa.BigInteger(), server_default=sa.text("nextval('reports_id_seq')"),
            autoincrement=False, nullable=False,
        ),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", time, server_default=sa.text("now()"), nullable=False),
        sa.Column("settled_at", time, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("report_id"),
    )  # fmt: skip
    op.create_index(
        "comment_reports_one_each", "comment_reports", ["post_id", "comment_id", "user_id"], unique=True
    )
    op.create_index("comment_reports_user_id_idx", "comment_reports", ["user_id", "report_id"])
    op.create_index(
        "comment_reports_open", "comment_reports", ["report_id"],
        postgresql_where=sa.text("settled_at IS NULL"),
    )  # fmt: skip
    op.add_column("moderation_log", sa.Column("comment_id", sa.BigInteger(), nullable=True))
    op.execute(PLACE)
    op.execute(PRUNE)
    op.execute("""
        CREATE TRIGGER withheld_comments_unanswered AFTER DELETE ON withheld_comments
        FOR EACH ROW EXECUTE FUNCTION prune_comments()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER withheld_comments_unanswered ON withheld_comments")
    op.execute(PRUNE_BEFORE)
    op.execute(PLACE_BEFORE)
    op.drop_column("moderation_log", "comment_id")
    op.drop_table("comment_reports")
    op.drop_table("withheld_comments")
