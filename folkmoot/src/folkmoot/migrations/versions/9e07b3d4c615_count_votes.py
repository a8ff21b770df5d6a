"""count votes

post_ranks.votes becomes the number of a post's votes, and the database keeps it. While people vote: from the
first step on each vote adds its difference to a number, and adds nothing to null; the fill then makes each
null a number, locking the row before it counts. Whoever voted and has not committed holds that lock.

Revision ID: 9e07b3d4c615
Revises: 5f1c8d2ab904
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

revision = "9e07b3d4c615"
down_revision = "5f1c8d2ab904"
branch_labels = None
depends_on = None

# The one place that keeps the number of votes. Rows are locked in the order of their ids, so that two who
# change the votes of many posts at once do not wait for each other. `fell` is the transaction that last
# lowered the number: a reader who pages through an order by votes may have seen such a post further up.
KEEP = """
CREATE FUNCTION keep_votes() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    posts bigint[];
    differences bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(c.post_id), array_agg(c.n) INTO posts, differences
          FROM (SELECT post_id, count(*) AS n FROM added GROUP BY post_id) AS c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(c.post_id), array_agg(-c.n) INTO posts, differences
          FROM (SELECT post_id, count(*) AS n FROM gone GROUP BY post_id) AS c;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(c.post_id), array_agg(c.n) INTO posts, differences
          FROM (SELECT post_id, sum(d) AS n
                  FROM (SELECT post_id, 1 AS d FROM added UNION ALL SELECT post_id, -1 FROM gone) AS m
                 GROUP BY post_id HAVING sum(d) <> 0) AS c;
    ELSE
        UPDATE post_ranks SET votes = 0, fell = pg_current_xact_id()::text::bigint WHERE votes <> 0;
        RETURN NULL;
    END IF;
    IF cardinality(posts) > 1 THEN
        PERFORM FROM post_ranks WHERE post_id = ANY (posts) ORDER BY post_id FOR NO KEY UPDATE;
    END IF;
    UPDATE post_ranks AS r
       SET votes = r.votes + c.difference,
           fell = CASE WHEN c.difference < 0 THEN pg_current_xact_id()::text::bigint ELSE r.fell END
      FROM unnest(posts, differences) AS c (post_id, difference)
     WHERE r.post_id = c.post_id;
    RETURN NULL;
END $$
"""
KEPT = (
    """CREATE TRIGGER votes_added AFTER INSERT ON votes REFERENCING NEW TABLE AS added
       FOR EACH STATEMENT EXECUTE FUNCTION keep_votes()""",
    """CREATE TRIGGER votes_gone AFTER DELETE ON votes REFERENCING OLD TABLE AS gone
       FOR EACH STATEMENT EXECUTE FUNCTION keep_votes()""",
    """CREATE TRIGGER votes_moved AFTER UPDATE ON votes REFERENCING OLD TABLE AS gone NEW TABLE AS added
       FOR EACH STATEMENT EXECUTE FUNCTION keep_votes()""",
    """CREATE TRIGGER votes_emptied AFTER TRUNCATE ON votes
       FOR EACH STATEMENT EXECUTE FUNCTION keep_votes()""",
)
# Two statements, because the second has to see what those committed for whom the first waited.
COUNT = """
CREATE FUNCTION count_votes(counted bigint) RETURNS integer LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM FROM post_ranks WHERE post_id = counted FOR NO KEY UPDATE;
    RETURN (SELECT count(*) FROM votes WHERE post_id = counted);
END $$
"""


def upgrade() -> None:
    op.create_index("votes_post_id", "votes", ["post_id"])
    op.execute(KEEP)
    for trigger in KEPT:
        op.execute(trigger)
    op.alter_column("post_ranks", "votes", existing_type=sa.Integer(), server_default=sa.text("0"))
    op.execute(COUNT)
    op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
        "post_ranks", {"votes": sa.text("count_votes(post_id)")}, where="votes IS NULL"
    )
    op.alter_column("post_ranks", "votes", existing_type=sa.Integer(), nullable=False)
    published = sa.text("published")
    op.create_index("post_ranks_top", "post_ranks", ["votes", "post_id"], postgresql_where=published)
    op.create_index("post_ranks_hot", "post_ranks", ["hot", "post_id"], postgresql_where=published)
    op.create_index("post_ranks_owner_top", "post_ranks", ["owner_id", "published", "votes", "post_id"])
    op.create_index("post_ranks_owner_hot", "post_ranks", ["owner_id", "published", "hot", "post_id"])


def downgrade() -> None:
    for trigger in ("votes_added", "votes_gone", "votes_moved", "votes_emptied"):
        op.execute(f"DROP TRIGGER {trigger} ON votes")
    for index in ("post_ranks_owner_hot", "post_ranks_owner_top", "post_ranks_hot", "post_ranks_top"):
        op.drop_index(index, table_name="post_ranks")
    op.alter_column("post_ranks", "votes", existing_type=sa.Integer(), nullable=True, server_default=None)
    op.backfill(  # type: ignore[attr-defined]  # an operation of Lockstep's
        "post_ranks", {"votes": None}, where="votes IS NOT NULL"
    )
    op.execute("DROP FUNCTION count_votes(bigint)")
    op.execute("DROP FUNCTION keep_votes()")
    op.drop_index("votes_post_id", table_name="votes")
