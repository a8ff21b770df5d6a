"""moderate

Administrators, who remove posts and block accounts; what they did; and what people report. A post that is
withheld, because it was removed or its owner is blocked, is a draft as long as that lasts: `published` is
what every list and search goes by, and the database keeps it false, whichever program writes. What it is to
be afterwards stands in `withheld`.

Revision ID: d7b30f5e12c9
Revises: 07d3c5a18e94
Create Date: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "d7b30f5e12c9"
down_revision = "07d3c5a18e94"
branch_labels = None
depends_on = None

# Words are read anew only where the text is another: who is blocked may have thousands of posts. The lock is
# the one that the foreign key takes afterwards: whoever blocks the account comes before it, or after all of
# this transaction.
DESCRIBE = """
CREATE OR REPLACE FUNCTION describe_post() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.document IS NULL OR (NEW.title, NEW.content) IS DISTINCT FROM (OLD.title, OLD.content) THEN
        NEW.document := post_document(NEW.title, NEW.content);
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version + 1;
    END IF;
    IF NEW.published THEN
        PERFORM FROM users WHERE id = NEW.owner_id FOR KEY SHARE;
        IF EXISTS (SELECT FROM users WHERE id = NEW.owner_id AND blocked_at IS NOT NULL)
           OR EXISTS (SELECT FROM withheld WHERE post_id = NEW.id) THEN
            NEW.published := FALSE;
        END IF;
    END IF;
    RETURN NEW;
END $$
"""  # noqa: E501 - as the database has it
BEFORE = """
CREATE OR REPLACE FUNCTION describe_post() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.document := post_document(NEW.title, NEW.content);
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    time = sa.TIMESTAMP(timezone=True)
    now = sa.text("now()")
    op.add_column(
        "users", sa.Column("administrator", sa.Boolean(), server_default=sa.text("FALSE"), nullable=False)
    )
    op.add_column("users", sa.Column("blocked_at", time, nullable=True))
    op.add_column("users", sa.Column("blocked_reason", sa.String(), nullable=True))
    op.create_table(
        "withheld",
        sa.Column("post_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("removed_at", time, nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], ondelete="CASCADE", onupdate="CASCADE"),
        sa.PrimaryKeyConstraint("post_id"),
    )
    op.create_table(
        "reports",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", time, server_default=now, nullable=False),
        sa.Column("settled_at", time, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("reports_one_each", "reports", ["post_id", "user_id"], unique=True)
    op.create_index("reports_user_id_idx", "reports", ["user_id"])
    op.create_index("reports_open", "reports", ["id"], postgresql_where=sa.text("settled_at IS NULL"))
    # Without foreign keys: it stays when people and posts go.
    op.create_table(
        "moderation_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("at", time, server_default=now, nullable=False),
        sa.Column("administrator_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("person_id", sa.BigInteger(), nullable=True),
        sa.Column("post_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute(DESCRIBE)


def downgrade() -> None:
    op.execute(BEFORE)
    op.drop_table("moderation_log")
    op.drop_table("reports")
    op.drop_table("withheld")
    op.drop_column("users", "blocked_reason")
    op.drop_column("users", "blocked_at")
    op.drop_column("users", "administrator")
