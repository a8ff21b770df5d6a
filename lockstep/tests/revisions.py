"""Revisions of several operations as projects have them, on the tables of the cases: for the kill harness."""

from __future__ import annotations

from cases import Case

_ENUM = "color = sa.Enum('red', 'green', name='color')\n"

REVISIONS = [
    Case(
        "an enum in two tables",
        f"{_ENUM}"
        "t = op.create_table('cars', sa.Column('id', sa.Integer(), primary_key=True), "
        "sa.Column('c', color))\n"
        "op.bulk_insert(t, [{'id': 1, 'c': 'red'}, {'id': 2, 'c': 'green'}])\n"
        "op.create_table('bikes', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('c', color))\n"
        "op.execute(\"INSERT INTO bikes SELECT id, 'red' FROM cars\")",
        "op.drop_table('bikes')\nop.drop_table('cars')\nsa.Enum(name='color').drop(op.get_bind())",
    ),
    Case(
        "parents and children",
        "op.create_table('groups', sa.Column('id', sa.Integer(), sa.Identity(), primary_key=True), "
        "sa.Column('name', sa.Text(), nullable=False, unique=True))\n"
        "op.create_table('members', sa.Column('group_id', sa.Integer(), sa.ForeignKey('groups.id')), "
        "sa.Column('person_id', sa.Integer(), sa.ForeignKey('people.id'), nullable=False))\n"
        "op.get_bind().execute(sa.text("
        '"INSERT INTO groups (id, name) OVERRIDING SYSTEM VALUE "\n'
        "    \"SELECT n, 'g' || n FROM generate_series(1, 9) n\"))\n"
        "op.get_bind().execute(sa.text('INSERT INTO members '\n"
        "    'SELECT id % 9 + 1, id FROM people WHERE id < 50'))\n"
        "op.create_index('members_person', 'members', ['person_id'])",
        "op.drop_table('members')\nop.drop_table('groups')",
    ),
    Case(
        "a column of a new enum",
        f"{_ENUM}color.create(op.get_bind(), checkfirst=True)\n"
        "op.add_column('people', sa.Column('hue', color, server_default='red', nullable=False))\n"
        "op.execute(\"UPDATE people SET hue = 'green' WHERE id % 2 = 0\")\n"
        "op.create_index('people_hue', 'people', ['hue'])",
        "op.drop_column('people', 'hue')\nsa.Enum(name='color').drop(op.get_bind(), checkfirst=True)",
    ),
    Case(
        "a column that moves to another table",
        "op.add_column('people', sa.Column('posts_count', sa.Integer()))\n"
        "op.execute('UPDATE people SET posts_count = '\n"
        "    '(SELECT count(*) FROM posts WHERE owner_id = people.id)')\n"
        "op.alter_column('people', 'posts_count', nullable=False, server_default='0')\n"
        "op.create_check_constraint('people_posts', 'people', 'posts_count >= 0')",
        "op.drop_constraint('people_posts', 'people')\nop.drop_column('people', 'posts_count')",
    ),
    Case(
        "values of an enum made anew",
        "op.execute('ALTER TYPE mood RENAME TO mood_old')\n"
        "sa.Enum('glad', 'sad', 'calm', name='mood').create(op.get_bind())\n"
        "op.alter_column('people', 'mood', type_=sa.Enum('glad', 'sad', 'calm', name='mood'), "
        "postgresql_using='mood::text::mood')\n"
        "op.execute('DROP TYPE mood_old')",
        "op.execute('ALTER TYPE mood RENAME TO mood_new')\n"
        "sa.Enum('glad', 'sad', name='mood').create(op.get_bind())\n"
        "op.alter_column('people', 'mood', type_=sa.Enum('glad', 'sad', name='mood'), "
        "postgresql_using='mood::text::mood')\n"
        "op.execute('DROP TYPE mood_new')",
    ),
    Case(
        "views and functions",
        "op.execute('CREATE VIEW popular AS SELECT id, title FROM posts WHERE score > 10')\n"
        "op.execute('CREATE MATERIALIZED VIEW totals AS SELECT owner_id, count(*) FROM posts GROUP BY 1')\n"
        "op.execute(\"CREATE FUNCTION twice(integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 * 2'\")\n"
        "op.create_index('totals_owner', 'totals', ['owner_id'], unique=True)",
        "op.execute('DROP FUNCTION twice')\nop.execute('DROP MATERIALIZED VIEW totals')\n"
        "op.execute('DROP VIEW popular')",
    ),
    Case(
        "two columns, one of them copied",
        "op.add_column('posts', sa.Column('head', sa.Text()))\n"
        "op.add_column('posts', sa.Column('pinned', sa.Boolean(), server_default=sa.false(), "
        "nullable=False))\n"
        "op.backfill('posts', {'head': sa.text('left(title, 5)')}, where='head IS NULL')\n"
        "op.alter_column('posts', 'head', nullable=False)\n"
        "op.create_index('posts_pinned', 'posts', ['pinned'], postgresql_where=sa.text('pinned'))",
        "op.drop_index('posts_pinned')\nop.drop_column('posts', 'pinned')\nop.drop_column('posts', 'head')",
    ),
    Case(
        "a savepoint of its own",
        "bind = op.get_bind()\nop.create_index('loose_a', 'loose', ['a'])\n"
        "try:\n    with bind.begin_nested():\n        bind.execute(sa.text('SELECT 1 / 0'))\n"
        "except sa.exc.DBAPIError:\n    bind.execute(sa.text(\"UPDATE loose SET c = 'x' WHERE a = 1\"))\n"
        "op.add_column('loose', sa.Column('e', sa.Integer()))",
        "op.drop_column('loose', 'e')\nop.drop_index('loose_a', 'loose')",
    ),
    Case(
        "a table that goes and one that stays",
        "op.drop_table('votes')\n"
        "op.create_table('marks', sa.Column('person_id', sa.Integer(), primary_key=True), "
        "sa.Column('mark', sa.SmallInteger(), nullable=False))\n"
        "op.execute('INSERT INTO marks SELECT id, id % 5 FROM people')",
        "op.drop_table('marks')\n"
        "op.create_table('votes', sa.Column('person_id', sa.Integer(), sa.ForeignKey('people.id', "
        "ondelete='CASCADE'), nullable=False), sa.Column('post_id', sa.Integer(), "
        "sa.ForeignKey('posts.id', ondelete='CASCADE'), nullable=False), "
        "sa.PrimaryKeyConstraint('person_id', 'post_id'))\n"
        "op.execute(\"COMMENT ON CONSTRAINT votes_pkey ON votes IS 'one vote each'\")",
    ),
    Case(
        "a renamed column with another type and index",
        "op.alter_column('people', 'note', new_column_name='remark', type_=sa.String(40), nullable=True)\n"
        "op.create_index('people_remark', 'people', [sa.text('lower(remark)')])\n"
        "op.rename_table('kept', 'labels')\n"
        "op.alter_column('labels', 'label', nullable=False)",
        "op.alter_column('labels', 'label', nullable=True)\nop.rename_table('labels', 'kept')\n"
        "op.drop_index('people_remark')\n"
        "op.alter_column('people', 'remark', new_column_name='note', type_=sa.Text())",
    ),
    Case(
        "a sequence that counts down",
        "op.execute('CREATE SEQUENCE downwards INCREMENT -1')\n"
        "op.create_table('steps', sa.Column('id', sa.Integer(), "
        "server_default=sa.text(\"nextval('downwards')\"), primary_key=True), sa.Column('s', sa.Text()))\n"
        "op.execute('ALTER SEQUENCE downwards OWNED BY steps.id')\n"
        "op.execute(\"INSERT INTO steps (id, s) VALUES (-1, 'a'), (-2, 'b')\")\n"
        "op.execute(\"SELECT setval('downwards', -2)\")",
        "op.drop_table('steps')",
    ),
    Case(
        "a partitioned table",
        "op.create_table('days', sa.Column('day', sa.Date(), primary_key=True), "
        "sa.Column('n', sa.Integer()), postgresql_partition_by='RANGE (day)')\n"
        'op.execute("CREATE TABLE days_1 PARTITION OF days "\n'
        "    \"FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')\")\n"
        "op.execute(\"INSERT INTO days SELECT '2026-01-01'::date + n, n FROM generate_series(1, 9) n\")\n"
        "op.create_index('days_n', 'days', ['n'])",
        "op.drop_table('days')",
    ),
    Case(
        "a trigger that counts",
        "op.add_column('people', sa.Column('loved', sa.Integer(), server_default='0', nullable=False))\n"
        "op.execute('CREATE FUNCTION love() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "UPDATE people SET loved = loved + 1 WHERE id = NEW.person_id; RETURN NULL; END $f$')\n"
        "op.execute('CREATE TRIGGER loving AFTER INSERT ON votes FOR EACH ROW EXECUTE FUNCTION love()')\n"
        "op.execute('UPDATE people SET loved = (SELECT count(*) FROM votes WHERE person_id = people.id)')",
        "op.execute('DROP TRIGGER loving ON votes')\nop.execute('DROP FUNCTION love')\n"
        "op.drop_column('people', 'loved')",
    ),
    Case(
        "what it reads decides",
        "bind = op.get_bind()\ninspector = sa.inspect(bind)\n"
        "if 'posts_code' not in {i['name'] for i in inspector.get_indexes('posts')}:\n"
        "    op.create_index('posts_code', 'posts', ['code'])\n"
        "for row in bind.execute(sa.text('SELECT id FROM kept WHERE id <= 3 ORDER BY id')).all():\n"
        "    bind.execute(sa.text('UPDATE kept SET label = :l WHERE id = :i'), "
        "{'l': f'l{row.id}', 'i': row.id})\n"
        "    op.execute(f\"COMMENT ON TABLE kept IS '{row.id}'\")\n"
        "op.create_unique_constraint('kept_label', 'kept', ['label'])",
        "op.drop_constraint('kept_label', 'kept')\nop.execute('COMMENT ON TABLE kept IS NULL')\n"
        "op.drop_index('posts_code')",
    ),
]
