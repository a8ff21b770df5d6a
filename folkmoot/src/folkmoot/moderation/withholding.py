"""What is kept from everybody but its author: what was removed, and what a blocked person wrote.

A post is a draft meanwhile (revision `moderate`), a comment a deleted one (revision `moderate comments`).
What it is to be afterwards stands in a row of `withheld`, or of `withheld_comments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from folkmoot.moderation.log import Action
from folkmoot.posts.comments import missing_comment
from folkmoot.posts.posts import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from folkmoot.http.problems import NotFound
    from folkmoot.postgres.pool import Connection


@dataclass(frozen=True)
class Kind:
    """Posts, or comments: what is asked about one, or about many.

    About one, the parameters begin with its key: of a post its id, of a comment its post's and its own. About
    many, with an array for each of these.
    """

    #: Lock one, as whoever changes it does.
    lock: Sequence[str]
    #: What an administrator sees of one; nothing of a draft, unless it is one because it is withheld.
    seen: str
    #: Withhold many that are not withheld; then have nobody see them.
    withhold: Sequence[str]
    #: Let many go: the first returns the arrays of those that the second one is for.
    let_go: Sequence[str]
    #: Write down that one is removed, and why ($reason); that it is withheld with its author alone.
    removed: str
    not_removed: str
    #: Settle what was reported about one.
    settle: str
    #: Of a person, arrays of at most so many: of what is not withheld, and of what only the block withholds.
    written: str
    blocked: str
    #: What the log says was done.
    remove: Action
    restore: Action
    keep: Action
    missing: Callable[[], NotFound]


POSTS = Kind(
    lock=("SELECT FROM posts WHERE id = $1::bigint FOR UPDATE",),
    seen="""
        SELECT p.id::bigint AS post_id, NULL AS comment_id, p.title, p.content, p.owner_id::bigint,
               u.display_name, p.created_at, w.removed_at, w.reason, u.blocked_at
          FROM posts AS p JOIN users AS u ON u.id = p.owner_id LEFT JOIN withheld AS w ON w.post_id = p.id
         WHERE p.id = $1::bigint AND (p.published OR w.published)
    """,
    withhold=(
        """
        INSERT INTO withheld (post_id, published)
        SELECT id, TRUE FROM posts WHERE id = ANY ($1::bigint[]) AND published ON CONFLICT DO NOTHING
        """,
        "UPDATE posts SET published = FALSE WHERE id = ANY ($1::bigint[]) AND published",
    ),
    let_go=(
        """
        WITH gone AS (DELETE FROM withheld WHERE post_id = ANY ($1::bigint[]) RETURNING post_id, published)
        SELECT array_agg(post_id) FROM gone WHERE published
        """,
        "UPDATE posts SET published = TRUE WHERE id = ANY ($1::bigint[])",
    ),
    removed="UPDATE withheld SET removed_at = now(), reason = $2 WHERE post_id = $1::bigint",
    not_removed="UPDATE withheld SET removed_at = NULL, reason = NULL WHERE post_id = $1::bigint",
    settle="UPDATE reports SET settled_at = now() WHERE post_id = $1::bigint AND settled_at IS NULL",
    written="""
        SELECT array_agg(id) FROM (SELECT id FROM posts WHERE owner_id = $1::bigint AND published
                                    ORDER BY id LIMIT $2 FOR UPDATE) AS p
    """,
    blocked="""
        SELECT array_agg(id) FROM (
            SELECT p.id FROM posts AS p JOIN withheld AS w ON w.post_id = p.id
             WHERE p.owner_id = $1::bigint AND w.removed_at IS NULL
             ORDER BY p.id LIMIT $2 FOR UPDATE OF p) AS p
    """,
    remove=Action.remove_post,
    restore=Action.restore_post,
    keep=Action.keep_post,
    missing=missing,
)

_KEY = "post_id = $1::bigint AND comment_id = $2::bigint"
_KEYS = "unnest($1::bigint[], $2::bigint[]) AS k (post_id, comment_id)"
_OF_KEYS = "c.post_id = k.post_id AND c.id = k.comment_id"
_OF_ROW = "w.post_id = c.post_id AND w.comment_id = c.id"

COMMENTS = Kind(
    # In the order in which accounts and posts are deleted: its author, to whom the row of `withheld_comments`
    # refers, its post, whose number of comments changes, and then itself.
    lock=(
        f"""
        SELECT FROM users WHERE id IN (
            SELECT owner_id FROM comments WHERE post_id = $1::bigint AND id = $2::bigint
             UNION ALL SELECT owner_id FROM withheld_comments WHERE {_KEY}) FOR KEY SHARE
        """,
        """
        SELECT FROM posts WHERE id IN (
            SELECT post_id FROM comments WHERE post_id = $1::bigint AND id = $2::bigint) FOR KEY SHARE
        """,
        "SELECT FROM comments WHERE post_id = $1::bigint AND id = $2::bigint FOR UPDATE",
    ),
    seen=f"""
        SELECT c.post_id, c.id AS comment_id, p.title, coalesce(w.content, c.content) AS content,
               u.id::bigint AS owner_id, u.display_name, c.created_at, w.removed_at, w.reason, u.blocked_at
          FROM comments AS c JOIN posts AS p ON p.id = c.post_id
          LEFT JOIN withheld_comments AS w ON {_OF_ROW}
          JOIN users AS u ON u.id = coalesce(c.owner_id, w.owner_id)
         WHERE c.post_id = $1::bigint AND c.id = $2::bigint
           AND (p.published OR EXISTS (SELECT FROM withheld WHERE post_id = p.id AND published))
    """,
    withhold=(
        f"""
        INSERT INTO withheld_comments (post_id, comment_id, owner_id, content)
        SELECT c.post_id, c.id, c.owner_id, c.content FROM {_KEYS} JOIN comments AS c ON {_OF_KEYS}
         WHERE c.owner_id IS NOT NULL ON CONFLICT DO NOTHING
        """,
        f"UPDATE comments AS c SET owner_id = NULL FROM {_KEYS} WHERE {_OF_KEYS} AND owner_id IS NOT NULL",
    ),
    # In this order: a comment that has neither author nor row is pruned.
    let_go=(
        f"""
        WITH shown AS (
            UPDATE comments AS c SET owner_id = w.owner_id, content = w.content
              FROM {_KEYS} JOIN withheld_comments AS w USING (post_id, comment_id) WHERE {_OF_KEYS}
            RETURNING c.post_id, c.id)
        SELECT array_agg(post_id), array_agg(id) FROM shown
        """,
        f"DELETE FROM withheld_comments AS w USING {_KEYS} "
        "WHERE w.post_id = k.post_id AND w.comment_id = k.comment_id",
    ),
    removed=f"UPDATE withheld_comments SET removed_at = now(), reason = $3 WHERE {_KEY}",
    not_removed=f"UPDATE withheld_comments SET removed_at = NULL, reason = NULL WHERE {_KEY}",
    settle=f"UPDATE comment_reports SET settled_at = now() WHERE {_KEY} AND settled_at IS NULL",
    written="""
        SELECT array_agg(post_id), array_agg(id) FROM (
            SELECT c.post_id, c.id FROM comments AS c JOIN posts AS p ON p.id = c.post_id
             WHERE c.owner_id = $1::bigint ORDER BY c.id LIMIT $2 FOR KEY SHARE OF p FOR UPDATE OF c) AS c
    """,
    blocked=f"""
        SELECT array_agg(post_id), array_agg(id) FROM (
            SELECT c.post_id, c.id FROM withheld_comments AS w JOIN comments AS c ON {_OF_ROW}
              JOIN posts AS p ON p.id = c.post_id
             WHERE w.owner_id = $1::bigint AND w.removed_at IS NULL
             ORDER BY w.comment_id LIMIT $2 FOR KEY SHARE OF p FOR UPDATE OF c) AS c
    """,
    remove=Action.remove_comment,
    restore=Action.restore_comment,
    keep=Action.keep_comment,
    missing=missing_comment,
)


@dataclass(frozen=True)
class Target:
    """A post, or a comment."""

    kind: Kind
    key: tuple[int, ...]

    @property
    def arrays(self) -> list[list[int]]:
        return [[each] for each in self.key]

    @property
    def logged(self) -> dict[str, int]:
        """What it is called in the log."""
        return dict(zip(("post_id", "comment_id"), self.key, strict=False))


def post(post_id: int) -> Target:
    return Target(POSTS, (post_id,))


def comment(post_id: int, comment_id: int) -> Target:
    return Target(COMMENTS, (post_id, comment_id))


async def withhold(connection: Connection, kind: Kind, arrays: Sequence[list[int]]) -> None:
    """Withhold what is not withheld yet."""
    for statement in kind.withhold:
        await connection.execute(statement, *arrays)


async def let_go(connection: Connection, kind: Kind, arrays: Sequence[list[int]]) -> None:
    """Make them again what they were before."""
    found, then = kind.let_go
    row = await connection.fetchrow(found, *arrays)
    await connection.execute(then, *(row or ()))
