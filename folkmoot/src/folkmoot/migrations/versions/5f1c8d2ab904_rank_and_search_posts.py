"""rank and search posts

A post gets a version, which each edit raises; a search document; and a row in post_ranks, which holds what
lists are ordered by. The database keeps all three. post_ranks stands apart from posts because each vote
changes it: a vote then rewrites a short row and four entries of its indexes, and not the post, its text and
its words.

post_ranks.votes is null here: not counted yet.

Revision ID: 5f1c8d2ab904
Revises: 9b1e7c42d6fa
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

import lockstep

revision = "5f1c8d2ab904"
down_revision = "9b1e7c42d6fa"
branch_labels = None
depends_on = None

# `folkmoot reindex` replaces this function when another language is set.
SEARCH_LANGUAGE = """
CREATE FUNCTION post_search_language() RETURNS regconfig LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'pg_catalog.english'::regconfig $$
"""
# A document is limited to 1 MiB; rows older than the limit on content may be longer than that.
DOCUMENT = """
CREATE FUNCTION post_document(title text, content text) RETURNS tsvector LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT to_tsvector(post_search_language(), left(title, 1000) || ' ' || left(content, 40000)) $$
"""
# The search path is the one of the migration: pg_restore writes rows under an empty one.
DESCRIBE = """
CREATE FUNCTION describe_post() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.document := post_document(NEW.title, NEW.content);
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version + 1;
    END IF;
    RETURN NEW;
END $$
"""
DESCRIBED = """
CREATE TRIGGER posts_described BEFORE INSERT OR UPDATE OF title, content, published, owner_id ON posts
FOR EACH ROW EXECUTE FUNCTION describe_post()
"""
# Any UPDATE ranks a post that is older than post_ranks: so the fill of the documents ranks all of them. Rows
# are locked in the order of their ids.
RANK = """
CREATE FUNCTION rank_posts() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO post_ranks AS r (post_id, owner_id, published, created_at)
    SELECT id, owner_id, published, created_at FROM written ORDER BY id
    ON CONFLICT (post_id) DO UPDATE
       SET owner_id = excluded.owner_id, published = excluded.published, created_at = excluded.created_at
     WHERE (r.owner_id, r.published, r.created_at)
           IS DISTINCT FROM (excluded.owner_id, excluded.published, excluded.created_at);
    RETURN NULL;
END $$
"""
RANKED = (
    """CREATE TRIGGER posts_added AFTER INSERT ON posts REFERENCING NEW TABLE AS written
       FOR EACH STATEMENT EXECUTE FUNCTION rank_posts()""",
    """CREATE TRIGGER posts_changed AFTER UPDATE ON posts REFERENCING NEW TABLE AS written
       FOR EACH STATEMENT EXECUTE FUNCTION rank_posts()""",
)


def upgrade() -> None:
    op.create_table(
        "post_ranks",
        sa.Column("post_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("published", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=True),
        sa.Column("fell", sa.BigInteger(), nullable=True),
        sa.Column(
            "hot",
            sa.Double(),
            sa.Computed(
                "log((GREATEST(votes, 1))::double precision)"
                " + date_part('epoch', created_at AT TIME ZONE 'UTC') / 45000",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], ondelete="CASCADE", onupdate="CASCADE"),
        sa.PrimaryKeyConstraint("post_id"),
    )
    op.add_column("posts", sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("posts", sa.Column("document", TSVECTOR(), nullable=True))
    op.execute(SEARCH_LANGUAGE)
    op.execute(DOCUMENT)
    op.execute(DESCRIBE)
    op.execute(RANK)
    for trigger in RANKED:
        op.execute(trigger)
    op.execute(DESCRIBED)
    op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
        "posts", {"document": sa.text("post_document(title, content)")}, where="document IS NULL"
    )
    op.create_index("posts_published", "posts", ["id"], postgresql_where=sa.text("published"))
    op.create_index("posts_owner", "posts", ["owner_id", "published", "id"])
    op.create_index("posts_document", "posts", ["document"], postgresql_using="gin")


def downgrade() -> None:
    for trigger in ("posts_described", "posts_added", "posts_changed"):
        op.execute(f"DROP TRIGGER {trigger} ON posts")
    op.drop_index("posts_document", table_name="posts")
    op.drop_index("posts_owner", table_name="posts")
    op.drop_index("posts_published", table_name="posts")
    op.drop_column("posts", "version")
    with lockstep.derived():
        op.drop_column("posts", "document")
        op.drop_table("post_ranks")
    for function in (
        "rank_posts()",
        "describe_post()",
        "post_document(text, text)",
        "post_search_language()",
    ):
        op.execute(f"DROP FUNCTION {function}")
