"""The schema changes that are measured: revision files as anybody writes them for Alembic."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = """
CREATE TABLE users (id serial PRIMARY KEY, email text NOT NULL);
CREATE TABLE posts (
    id integer NOT NULL, title text NOT NULL, body text NOT NULL, slug text NOT NULL,
    owner_id integer NOT NULL, language text
);
CREATE SEQUENCE posts_id_seq AS integer OWNED BY posts.id;
ALTER TABLE posts ALTER COLUMN id SET DEFAULT nextval('posts_id_seq');
CREATE TABLE votes (user_id integer NOT NULL, post_id integer NOT NULL, created_at timestamptz DEFAULT now());
"""

ROWS = """
INSERT INTO users (email) SELECT 'person' || n || '@example.com' FROM generate_series(1, {users}) n;
INSERT INTO posts SELECT n, 'Title ' || n, repeat('text of post ' || n || ' ', 5), md5(n::text),
    n % {users} + 1, CASE WHEN n % 2 = 0 THEN 'en' END FROM generate_series(1, {posts}) n;
SELECT setval('posts_id_seq', {posts});
INSERT INTO votes SELECT u, (u * 7919::bigint + k * 9973::bigint) % {posts} + 1
    FROM generate_series(1, {votes} / {users}) k, generate_series(1, {users}) u;
ALTER TABLE posts ADD PRIMARY KEY (id);
CREATE INDEX posts_owner ON posts (owner_id);
ALTER TABLE votes ADD PRIMARY KEY (user_id, post_id);
ALTER TABLE posts ADD FOREIGN KEY (owner_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE votes ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE votes ADD FOREIGN KEY (post_id) REFERENCES posts ON DELETE CASCADE;
"""


@dataclass(frozen=True)
class Change:
    name: str
    upgrade: str
    #: SQL that brings the tables to where the change makes sense; not measured.
    before: str = ""
    #: Also measured while somebody else's transaction is open on both tables.
    held: bool = False


CHANGES = (
    Change(
        "create_index",
        "op.create_index('votes_post', 'votes', ['post_id'])",
        held=True,
    ),
    Change(
        "drop_index",
        "op.drop_index('votes_post', 'votes')",
        before="CREATE INDEX votes_post ON votes (post_id)",
    ),
    Change(
        "foreign_key",
        "op.drop_constraint('votes_post_id_fkey', 'votes')\n"
        "op.create_foreign_key('votes_post_id_fkey', 'votes', 'posts', ['post_id'], ['id'], "
        "ondelete='CASCADE')",
        held=True,
    ),
    Change("check", "op.create_check_constraint('votes_people', 'votes', 'user_id > 0 AND post_id > 0')"),
    Change("unique", "op.create_unique_constraint('posts_slug', 'posts', ['slug'])", held=True),
    Change(
        "primary_key",
        "op.create_primary_key('votes_pkey', 'votes', ['user_id', 'post_id'])",
        before="ALTER TABLE votes DROP CONSTRAINT votes_pkey, ALTER user_id DROP NOT NULL, "
        "ALTER post_id DROP NOT NULL, ADD CONSTRAINT votes_once UNIQUE (user_id, post_id)",
    ),
    Change(
        "set_not_null",
        "op.alter_column('votes', 'created_at', nullable=False)",
        held=True,
    ),
    Change(
        "add_constant",
        "op.add_column('posts', sa.Column('public', sa.Boolean(), server_default='TRUE', nullable=False))",
        held=True,
    ),
    Change(
        "add_volatile",
        "op.add_column('posts', sa.Column('uid', sa.Uuid(), server_default=sa.text('gen_random_uuid()'), "
        "nullable=False))",
    ),
    Change(
        "add_unique_references",
        "op.add_column('posts', sa.Column('editor_id', sa.Integer(), "
        "sa.ForeignKey('users.id', ondelete='SET NULL'), unique=True))",
    ),
    Change(
        "required_column",
        "op.add_column('posts', sa.Column('kind', sa.String()))\n"
        "op.alter_column('posts', 'kind', server_default='none')\n"
        "op.backfill('posts', {'kind': sa.text(\"coalesce(language, 'none')\")}, where='kind IS NULL')\n"
        "op.alter_column('posts', 'kind', nullable=False)",
    ),
    Change(
        "counter",
        "op.add_column('posts', sa.Column('votes', sa.Integer()))\n"
        "op.alter_column('posts', 'votes', server_default='0')\n"
        "count = sa.text('(SELECT count(*) FROM votes v WHERE v.post_id = posts.id)')\n"
        "op.backfill('posts', {'votes': count}, where='votes IS NULL')\n"
        "op.alter_column('posts', 'votes', nullable=False)",
        before="CREATE INDEX votes_post ON votes (post_id)",
    ),
    Change(
        "backfill",
        "op.add_column('votes', sa.Column('weight', sa.Integer()))\n"
        "op.backfill('votes', {'weight': 1}, where='weight IS NULL')",
    ),
    Change(
        "widen_posts_id",
        "op.alter_column('posts', 'id', type_=sa.BigInteger(), existing_type=sa.Integer())",
        held=True,
    ),
    Change(
        "widen_votes_post_id",
        "op.alter_column('votes', 'post_id', type_=sa.BigInteger(), existing_type=sa.Integer())",
    ),
)
