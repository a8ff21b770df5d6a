"""The SQL of comments: one, a page of a thread, and changes.

Each statement is asked by `:person` with `:session` (see `people.caller`) about `:post`, and `:comment`
where it is about one.
"""

from __future__ import annotations

from folkmoot.people.caller import NOBODY, SESSION
from folkmoot.postgres.statement import Statement
from folkmoot.posts.posts import VISIBLE

#: The most comments that one statement reads. Behind a limit that is a parameter the planner expects a
#: tenth of the rows; so this tells it that there are few, and the parameter stops earlier.
_MOST = 201

# Of a comment `c`, its owner `u`, one's own vote `v`, and what `w` says of it to its author while it is
# withheld.
_COLUMNS = """
    c.id, c.post_id, c.parent_id, c.path, coalesce(w.content, c.content) AS content, c.created_at, c.version,
    c.votes, CASE WHEN CAST(:person AS bigint) IS NOT NULL THEN v.comment_id IS NOT NULL END AS voted,
    w.reason AS removed, u.id::bigint AS owner_id, u.display_name
"""
# With LIMIT it is a subquery of its own, which is not run for a comment that has an owner.
_JOINED = """
    LEFT JOIN LATERAL (
         SELECT owner_id, content, reason FROM withheld_comments
          WHERE c.owner_id IS NULL AND post_id = c.post_id AND comment_id = c.id
            AND owner_id = CAST(:person AS bigint) LIMIT 1) AS w ON TRUE
    LEFT JOIN users AS u ON u.id = coalesce(c.owner_id, w.owner_id)
    LEFT JOIN comment_votes AS v
           ON v.user_id = CAST(:person AS bigint) AND v.post_id = c.post_id AND v.comment_id = c.id
"""
#: Whether a comment `c` has a place in lists: it says something to `:person`, or one below it does.
_LISTED = f"""
    (c.owner_id IS NOT NULL OR EXISTS (
         SELECT FROM comments AS a
           LEFT JOIN withheld_comments AS w
                  ON w.post_id = a.post_id AND w.comment_id = a.id AND w.owner_id = CAST(:person AS bigint)
          WHERE a.post_id = c.post_id AND a.path >= c.path AND a.path < c.path || CAST({2**63 - 1} AS bigint)
            AND (a.owner_id IS NOT NULL OR w.owner_id IS NOT NULL)))
"""
#: The comment `:comment` of a post `p`.
_KEY = "c.post_id = p.id AND c.id = CAST(:comment AS bigint)"
#: One that somebody may answer or vote on, under the same names.
LIVING = f"{_KEY} AND c.owner_id IS NOT NULL"


def _one(asking: str) -> Statement:
    return Statement(f"""
        SELECT {_COLUMNS}, s.noted
          FROM ({asking}) AS s
         CROSS JOIN posts AS p JOIN comments AS c ON {_KEY} {_JOINED}
         WHERE p.id = CAST(:post AS bigint) AND {VISIBLE} AND {_LISTED}
    """)


def _thread(asking: str, within: str = "TRUE") -> Statement:
    """A page of a thread: a row of nulls where there is no comment, and no row where there is no post."""
    return Statement(f"""
        SELECT s.noted, {_COLUMNS}
          FROM ({asking}) AS s
         CROSS JOIN posts AS p
          LEFT JOIN LATERAL (
               SELECT * FROM (
                      SELECT id, post_id, parent_id, path, content, created_at, version, votes, owner_id
                        FROM comments AS c
                       WHERE post_id = p.id AND path > CAST(:after AS bigint[]) AND {within} AND {_LISTED}
                       ORDER BY post_id, path LIMIT {_MOST}) AS few
                LIMIT :count) AS c ON TRUE {_JOINED}
         WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}
         ORDER BY c.path
    """)


#: The newest of a post that everybody sees.
NEWEST = Statement(f"""
    SELECT s.noted, {_COLUMNS}
      FROM ({NOBODY}) AS s
     CROSS JOIN (SELECT id, post_id, parent_id, path, content, created_at, version, votes, owner_id
                   FROM comments
                  WHERE post_id = CAST(:post AS bigint) AND owner_id IS NOT NULL
                  ORDER BY post_id DESC, id DESC LIMIT :count) AS c {_JOINED}
     WHERE EXISTS (SELECT FROM posts AS p WHERE p.id = c.post_id AND {VISIBLE})
     ORDER BY c.id DESC
""")
ONE, ONE_FOR_NOBODY = _one(SESSION), _one(NOBODY)
THREAD, THREAD_FOR_NOBODY = _thread(SESSION), _thread(NOBODY)
#: What is below the comment with the path `:above`: no id is larger than the largest one.
_BELOW = f"path < CAST(:above AS bigint[]) || CAST({2**63 - 1} AS bigint)"
BELOW, BELOW_FOR_NOBODY = _thread(SESSION, _BELOW), _thread(NOBODY, _BELOW)
#: One statement, and so one transaction: the session, the post as this person sees it, what is answered.
INSERT = Statement(f"""
    WITH s AS ({SESSION}),
    target AS (
        SELECT p.id FROM posts AS p CROSS JOIN s
         WHERE p.id = CAST(:post AS bigint) AND {VISIBLE}
           AND (CAST(:comment AS bigint) IS NULL OR EXISTS (SELECT FROM comments AS c WHERE {LIVING}))
    ),
    c AS (
        INSERT INTO comments (post_id, parent_id, owner_id, content)
        SELECT id, CAST(:comment AS bigint), CAST(:person AS bigint), :content FROM target
        RETURNING id, post_id, parent_id, path, content, created_at, version, votes, owner_id
    )
    SELECT s.noted, {_COLUMNS} FROM s LEFT JOIN c ON TRUE {_JOINED}
""")
_MINE = f"""
     WHERE c.post_id = CAST(:post AS bigint) AND c.id = CAST(:comment AS bigint)
       AND c.owner_id = CAST(:person AS bigint)
       AND (CAST(:versions AS int[]) IS NULL OR c.version = ANY (:versions))
       AND EXISTS (SELECT FROM posts AS p WHERE p.id = c.post_id AND {VISIBLE})
    RETURNING c.id
"""
UPDATE = Statement(f"UPDATE comments AS c SET content = :content {_MINE}")
DELETE = Statement(f"UPDATE comments AS c SET owner_id = NULL {_MINE}")
#: Of one that an administrator removed: the database then does with the comment as with a deleted one.
DELETE_REMOVED = Statement("""
    DELETE FROM withheld_comments AS w USING comments AS c
     WHERE w.post_id = CAST(:post AS bigint) AND w.comment_id = CAST(:comment AS bigint)
       AND w.owner_id = CAST(:person AS bigint) AND c.post_id = w.post_id AND c.id = w.comment_id
       AND (CAST(:versions AS int[]) IS NULL OR c.version = ANY (:versions))
    RETURNING w.comment_id
""")
