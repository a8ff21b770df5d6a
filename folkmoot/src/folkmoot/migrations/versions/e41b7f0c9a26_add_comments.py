"""add comments

Comments on posts, answers to comments, and votes on comments. The database places an answer below what it
answers (`path`), keeps the place of a deleted comment that has answers, removes one that has none, and keeps
the numbers: of a post's comments and of a comment's votes. Both numbers are null here: not counted yet.

Revision ID: e41b7f0c9a26
Revises: e4a81c6d97f2
Create Date: 2026-11-28
"""

from dataclasses import dataclass

import sqlalchemy as sa
from alembic import op

import lockstep

revision = "e41b7f0c9a26"
down_revision = "e4a81c6d97f2"
branch_labels = None
depends_on = None


@dataclass(frozen=True)
class Number:
    """How many rows of a table belong to a row of another one, which has the number in a column."""

    counted: str
    #: The table that has the number, and its column.
    keeper: str
    kept: str
    #: For each column of the keeper's key, the counted table's column and what an array of them is called.
    key: dict[str, tuple[str, str]]
    #: Which rows count.
    where: str = ""
    #: The column that has the transaction that last lowered the number.
    fell: str = ""

    def function(self) -> str:
        """What keeps it: of the numbers of votes on posts (see `count votes`) this is the very function.

        A function for each, because a statement that is put together when it runs is planned each time.
        """
        columns = ", ".join(column for column, _ in self.key.values())
        arrays = [array for _, array in self.key.values()]
        into = ", ".join([*arrays, "differences"])
        gathered = ", ".join(f"array_agg(c.{column})" for column, _ in self.key.values())
        where = f" WHERE {self.where}" if self.where else ""
        if len(arrays) == 1:
            these = f"{columns} = ANY ({arrays[0]})"
        else:
            these = f"({', '.join(self.key)}) IN (SELECT * FROM unnest({', '.join(arrays)}))"
        none = f", {self.fell} = pg_current_xact_id()::text::bigint" if self.fell else ""
        less = (
            f",\n           {self.fell} = CASE WHEN c.difference < 0 THEN pg_current_xact_id()::text::bigint "
            f"ELSE r.{self.fell} END"
            if self.fell
            else ""
        )
        declared = "".join(f"    {array} bigint[];\n" for array in [*arrays, "differences"])
        joined = " AND ".join(f"r.{mine} = c.{theirs}" for mine, (theirs, _) in self.key.items())
        return f"""
CREATE FUNCTION keep_{self.counted}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
{declared}BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT {gathered}, array_agg(c.n) INTO {into}
          FROM (SELECT {columns}, count(*) AS n FROM added{where} GROUP BY {columns}) AS c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT {gathered}, array_agg(-c.n) INTO {into}
          FROM (SELECT {columns}, count(*) AS n FROM gone{where} GROUP BY {columns}) AS c;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT {gathered}, array_agg(c.n) INTO {into}
          FROM (SELECT {columns}, sum(d) AS n
                  FROM (SELECT {columns}, 1 AS d FROM added{where} UNION ALL SELECT {columns}, -1 FROM gone{where}) AS m
                 GROUP BY {columns} HAVING sum(d) <> 0) AS c;
    ELSE
        UPDATE {self.keeper} SET {self.kept} = 0{none} WHERE {self.kept} <> 0;
        RETURN NULL;
    END IF;
    IF cardinality({arrays[0]}) > 1 THEN
        PERFORM FROM {self.keeper} WHERE {these} ORDER BY {", ".join(self.key)} FOR NO KEY UPDATE;
    END IF;
    UPDATE {self.keeper} AS r
       SET {self.kept} = r.{self.kept} + c.difference{less}
      FROM unnest({into}) AS c ({columns}, difference)
     WHERE {joined};
    RETURN NULL;
END $$
"""  # noqa: E501 - the lines are those of keep_votes()

    def triggers(self) -> list[str]:
        changes = {
            "added": "INSERT ON {} REFERENCING NEW TABLE AS added",
            "gone": "DELETE ON {} REFERENCING OLD TABLE AS gone",
            "moved": "UPDATE ON {} REFERENCING OLD TABLE AS gone NEW TABLE AS added",
            "emptied": "TRUNCATE ON {}",
        }
        return [
            f"CREATE TRIGGER {self.counted}_{name} AFTER {change.format(self.counted)} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION keep_{self.counted}()"
            for name, change in changes.items()
        ]


VOTES = Number("votes", "post_ranks", "votes", {"post_id": ("post_id", "posts")}, fell="fell")
COMMENTS = Number(
    "comments", "post_ranks", "comments", {"post_id": ("post_id", "posts")}, where="owner_id IS NOT NULL"
)
COMMENT_VOTES = Number(
    "comment_votes", "comments", "votes", {"post_id": ("post_id", "posts"), "id": ("comment_id", "ids")}
)

# Where there is no such comment to answer, the foreign key says so afterwards.
PLACE = """
CREATE FUNCTION place_comment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.path := coalesce(
        (SELECT path FROM comments WHERE post_id = NEW.post_id AND id = NEW.parent_id), '{}'
    ) || NEW.id;
    RETURN NEW;
END $$
"""
EDIT = """
CREATE FUNCTION edit_comment() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.version := OLD.version + 1;
    IF NEW.owner_id IS NULL THEN
        NEW.content := '';
    END IF;
    RETURN NEW;
END $$
"""
# A deleted comment without answers goes: when it is deleted, or with its last answer. First the lock, which
# whoever answers it holds or waits for, and then a statement of its own, which sees the answers.
PRUNE = """
CREATE FUNCTION prune_comments() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
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
"""
PLACED = (
    """CREATE TRIGGER comments_placed BEFORE INSERT ON comments
       FOR EACH ROW EXECUTE FUNCTION place_comment()""",
    """CREATE TRIGGER comments_edited BEFORE UPDATE OF content, owner_id ON comments
       FOR EACH ROW EXECUTE FUNCTION edit_comment()""",
    """CREATE TRIGGER comments_deleted AFTER UPDATE OF owner_id ON comments
       FOR EACH ROW WHEN (NEW.owner_id IS NULL) EXECUTE FUNCTION prune_comments()""",
    """CREATE TRIGGER comments_unanswered AFTER DELETE ON comments
       FOR EACH ROW WHEN (OLD.parent_id IS NOT NULL) EXECUTE FUNCTION prune_comments()""",
)


def upgrade() -> None:
    op.create_table(
        "comments",
        sa.Column("post_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("owner_id", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("path", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=True),
        sa.CheckConstraint("cardinality(path) <= 32", name="comments_depth"),
        sa.CheckConstraint("owner_id IS NOT NULL OR content = ''", name="comments_deleted"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["post_id", "parent_id"], ["comments.post_id", "comments.id"], name="comments_parent_fk"
        ),
        sa.PrimaryKeyConstraint("post_id", "id"),
    )
    op.create_index("comments_thread", "comments", ["post_id", "path"])
    op.create_index(
        "comments_answers", "comments", ["post_id", "parent_id"],
        postgresql_where=sa.text("parent_id IS NOT NULL"),
    )  # fmt: skip
    op.create_index("comments_owner", "comments", ["owner_id", "id"])
    op.create_table(
        "comment_votes",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["post_id", "comment_id"], ["comments.post_id", "comments.id"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "post_id", "comment_id"),
    )
    op.create_index("comment_votes_comment", "comment_votes", ["post_id", "comment_id"])
    op.add_column("post_ranks", sa.Column("comments", sa.Integer(), nullable=True))
    for function in (PLACE, EDIT, PRUNE, COMMENTS.function(), COMMENT_VOTES.function()):
        op.execute(function)
    for trigger in (*PLACED, *COMMENTS.triggers(), *COMMENT_VOTES.triggers()):
        op.execute(trigger)


def downgrade() -> None:
    with lockstep.derived():
        op.drop_column("post_ranks", "comments")
    op.drop_table("comment_votes")
    op.drop_table("comments")
    for does in ("place_comment", "edit_comment", "prune_comments", "keep_comments", "keep_comment_votes"):
        op.execute(f"DROP FUNCTION {does}()")
