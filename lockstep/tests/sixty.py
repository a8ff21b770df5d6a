"""Sixty revisions of every kind that people write, with a branch that is merged again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from project import Project

_TABLE = "op.create_table('{}', sa.Column('id', sa.Integer(), primary_key=True), {})"


def _table(name: str, columns: str) -> tuple[str, str]:
    return _TABLE.format(name, columns), f"op.drop_table('{name}')"


def _sql(up: str, down: str) -> tuple[str, str]:
    return f'op.execute("""{up}""")', f'op.execute("""{down}""")'


#: Upgrade and downgrade of each, in order.
REVISIONS: list[tuple[str, str]] = [
    _table("people", "sa.Column('email', sa.String(200), nullable=False), sa.Column('age', sa.Integer())"),
    _table("posts", "sa.Column('title', sa.Text(), nullable=False), sa.Column('person_id', sa.Integer(), "
           "sa.ForeignKey('people.id', ondelete='CASCADE')), sa.Column('score', sa.Integer(), "
           "server_default='0', nullable=False)"),
    ("op.create_unique_constraint('people_email_key', 'people', ['email'])",
     "op.drop_constraint('people_email_key', 'people')"),
    ("op.create_index('posts_title', 'posts', ['title'])", "op.drop_index('posts_title', 'posts')"),
    ("op.create_index('posts_liked', 'posts', ['score'], postgresql_where=sa.text('score > 10'))",
     "op.drop_index('posts_liked', 'posts')"),
    ("op.create_index('people_lower', 'people', [sa.text('lower(email)')], unique=True)",
     "op.drop_index('people_lower', 'people')"),
    ("op.add_column('posts', sa.Column('body', sa.Text()))", "op.drop_column('posts', 'body')"),
    ("op.add_column('posts', sa.Column('published', sa.Boolean(), server_default=sa.true(), nullable=False))",
     "op.drop_column('posts', 'published')"),
    ("op.add_column('posts', sa.Column('created_at', sa.DateTime(timezone=True), nullable=False, "
     "server_default=sa.func.now()))", "op.drop_column('posts', 'created_at')"),
    ("sa.Enum('draft', 'public', name='state').create(op.get_bind())\nop.add_column('posts', "
     "sa.Column('state', postgresql.ENUM('draft', 'public', name='state', create_type=False), "
     "server_default='draft'))",
     "op.drop_column('posts', 'state')\nsa.Enum(name='state').drop(op.get_bind())"),
    ("with op.get_context().autocommit_block():\n"
     """    op.execute("ALTER TYPE state ADD VALUE IF NOT EXISTS 'hidden'")""", "pass"),
    ("for (person,) in op.get_bind().execute(sa.text('SELECT id FROM people ORDER BY id')).all():\n"
     "    op.execute(sa.text('UPDATE people SET age = coalesce(age, 0) + 0 WHERE id = :id')"
     ".bindparams(id=person))", "pass"),
    ("op.alter_column('people', 'age', type_=sa.BigInteger())",
     "op.alter_column('people', 'age', type_=sa.Integer())"),
    ("op.alter_column('people', 'email', type_=sa.String(320))",
     "op.alter_column('people', 'email', type_=sa.String(200))"),
    ("op.execute('UPDATE posts SET body = title WHERE body IS NULL')\n"
     "op.alter_column('posts', 'body', nullable=False)", "op.alter_column('posts', 'body', nullable=True)"),
    ("op.create_check_constraint('people_age', 'people', 'age >= 0')",
     "op.drop_constraint('people_age', 'people', type_='check')"),
    ("op.alter_column('posts', 'score', server_default='1')",
     "op.alter_column('posts', 'score', server_default='0')"),
    ("op.alter_column('posts', 'body', new_column_name='content')",
     "op.alter_column('posts', 'content', new_column_name='body')"),
    _sql("CREATE VIEW popular AS SELECT id, title FROM posts WHERE score > 10", "DROP VIEW popular"),
    _sql("CREATE MATERIALIZED VIEW totals AS SELECT person_id, count(*) AS n FROM posts GROUP BY person_id",
         "DROP MATERIALIZED VIEW totals"),
    _sql("CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.created_at := now(); "
         "RETURN NEW; END $$", "DROP FUNCTION touch()"),
    _sql("CREATE TRIGGER posts_touch BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION touch()",
         "DROP TRIGGER posts_touch ON posts"),
    ("op.execute('CREATE SCHEMA audit')", "op.execute('DROP SCHEMA audit')"),
    ("op.create_table('log', sa.Column('id', sa.BigInteger(), sa.Identity(), primary_key=True), "
     "sa.Column('what', postgresql.JSONB(), nullable=False), schema='audit')",
     "op.drop_table('log', schema='audit')"),
    ("op.create_index('log_what', 'log', ['what'], schema='audit', postgresql_using='gin')",
     "op.drop_index('log_what', 'log', schema='audit')"),
    ("op.add_column('log', sa.Column('person_id', sa.Integer()), schema='audit')\nop.create_foreign_key("
     "'log_person', 'log', 'people', ['person_id'], ['id'], source_schema='audit')",
     "op.drop_constraint('log_person', 'log', schema='audit')\nop.drop_column('log', 'person_id', "
     "schema='audit')"),
    _table("votes", "sa.Column('post_id', sa.Integer(), sa.ForeignKey('posts.id')), sa.Column('up', "
           "sa.Boolean(), nullable=False), sa.UniqueConstraint('post_id', 'up', name='votes_once')"),
    ("with op.batch_alter_table('votes') as batch:\n    batch.add_column(sa.Column('weight', sa.Integer(), "
     "server_default='1'))\n    batch.create_check_constraint('votes_weight', 'weight > 0')",
     "with op.batch_alter_table('votes') as batch:\n    "
     "batch.drop_constraint('votes_weight', type_='check')\n    batch.drop_column('weight')"),
    ("op.create_table_comment('votes', 'who likes what')", "op.drop_table_comment('votes')"),
    ("op.alter_column('votes', 'up', comment='or down')",
     "op.alter_column('votes', 'up', comment=None, existing_comment='or down')"),
    ("tags = op.create_table('tags', sa.Column('name', sa.Text(), primary_key=True))\n"
     "op.bulk_insert(tags, [{'name': 'a'}, {'name': 'b'}])", "op.drop_table('tags')"),
    ("op.rename_table('tags', 'labels')", "op.rename_table('labels', 'tags')"),
    _sql("ALTER INDEX tags_pkey RENAME TO labels_pkey", "ALTER INDEX labels_pkey RENAME TO tags_pkey"),
    _sql("CREATE SEQUENCE ticket START 100", "DROP SEQUENCE ticket"),
    _sql("CREATE DOMAIN positive AS integer CHECK (VALUE > 0)", "DROP DOMAIN positive"),
    _table("orders", "sa.Column('ticket', sa.Integer(), server_default=sa.text(\"nextval('ticket')\")), "
           "sa.Column('price', sa.Numeric(10, 2)), sa.Column('gross', sa.Numeric(10, 2), "
           "sa.Computed('price * 1.2', persisted=True))"),
    _sql("CREATE EXTENSION IF NOT EXISTS plpgsql", "SELECT 1"),
    ("op.execute('ALTER TABLE orders ADD CONSTRAINT orders_apart EXCLUDE USING gist "
     "(int4range(ticket, ticket + 1) WITH &&)')", "op.drop_constraint('orders_apart', 'orders')"),
    ("op.create_table('events', sa.Column('day', sa.Date(), primary_key=True), sa.Column('n', sa.Integer()), "
     "postgresql_partition_by='RANGE (day)')", "op.drop_table('events')"),
    _sql("CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
         "DROP TABLE events_old"),
    _sql("CREATE TABLE events_new PARTITION OF events DEFAULT", "DROP TABLE events_new"),
    ("op.create_index('events_n', 'events', ['n'])", "op.drop_index('events_n', 'events')"),
    _sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON orders USING (price > 0)",
         "DROP POLICY mine ON orders; ALTER TABLE orders DISABLE ROW LEVEL SECURITY"),
    _sql("GRANT SELECT ON posts TO PUBLIC", "REVOKE SELECT ON posts FROM PUBLIC"),
    ("with op.get_context().autocommit_block():\n    op.create_index('votes_post', 'votes', ['post_id'], "
     "postgresql_concurrently=True)",
     "with op.get_context().autocommit_block():\n    op.drop_index('votes_post', 'votes', "
     "postgresql_concurrently=True)"),
    ("op.drop_constraint('votes_once', 'votes')",
     "op.create_unique_constraint('votes_once', 'votes', ['post_id', 'up'])"),
    ("op.drop_index('posts_title', 'posts')", "op.create_index('posts_title', 'posts', ['title'])"),
    ("op.add_column('people', sa.Column('name', sa.Text()))\nop.backfill('people', {'name': "
     "sa.text(\"split_part(email, '@', 1)\")})\nop.alter_column('people', 'name', nullable=False)",
     "op.drop_column('people', 'name')"),
    ("columns = sa.inspect(op.get_bind()).get_columns('people')\n"
     "if 'age' in {column['name'] for column in columns}:\n    op.add_column('people', "
     "sa.Column('born', sa.Integer(), sa.Computed('2026 - age', persisted=True)))",
     "op.drop_column('people', 'born')"),
    ("op.add_column('people', sa.Column('tags', postgresql.ARRAY(sa.Text()), server_default='{}'))",
     "op.drop_column('people', 'tags')"),
    _sql("CREATE RULE no_delete AS ON DELETE TO labels DO INSTEAD NOTHING", "DROP RULE no_delete ON labels"),
    _sql("CREATE STATISTICS posts_both ON person_id, score FROM posts", "DROP STATISTICS posts_both"),
    _sql("ALTER TABLE posts SET (fillfactor = 90)", "ALTER TABLE posts RESET (fillfactor)"),
    _sql("COMMENT ON VIEW popular IS 'liked by many'", "COMMENT ON VIEW popular IS NULL"),
    ("op.execute('ALTER TABLE posts ADD CONSTRAINT posts_score CHECK (score >= 0) NOT VALID')\n"
     "op.execute('ALTER TABLE posts VALIDATE CONSTRAINT posts_score')",
     "op.drop_constraint('posts_score', 'posts', type_='check')"),
]  # fmt: skip

#: A branch of three beside a branch of one, after the last of those; then their merge.
_SIDE = [
    _table("drafts", "sa.Column('text', sa.Text())"),
    ("op.add_column('drafts', sa.Column('words', sa.Integer()))", "op.drop_column('drafts', 'words')"),
    ("op.drop_column('drafts', 'text')", "op.add_column('drafts', sa.Column('text', sa.Text()))"),
]
_OTHER = [_table("badges", "sa.Column('name', sa.Text(), nullable=False)")]


def write(project: Project) -> None:
    """Write all of them into an empty project."""
    for upgrade, downgrade in REVISIONS:
        project.revision(upgrade, downgrade)
    fork = last = f"r{project.count}"
    for upgrade, downgrade in _SIDE:
        last = project.revision(upgrade, downgrade, down=last)
    (upgrade, downgrade), = _OTHER  # fmt: skip
    other = project.revision(upgrade, downgrade, down=fork)
    project.revision("pass", down=(last, other))
    assert project.count == 60
