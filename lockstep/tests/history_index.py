"""A package index's history: PostgreSQL's own features, raw SQL, triggers, enums that grow,
indexes made concurrently.
"""
# ruff: noqa: E501 (revisions are as long as their projects write them)

INDEX = [
    (
        """
        op.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
        op.execute("CREATE SCHEMA IF NOT EXISTS malware")
        op.execute(\"\"\"
            CREATE FUNCTION canonical(text) RETURNS text AS $$
                SELECT lower(regexp_replace($1, '[._-]+', '-', 'g'));
            $$ LANGUAGE SQL IMMUTABLE RETURNS NULL ON NULL INPUT;
        \"\"\")
        op.execute(sa.schema.CreateSequence(sa.Sequence("serials", start=5)))
        op.create_table(
            "projects",
            sa.Column("id", postgresql.UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()"),
                      nullable=False),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("serial", sa.Integer(), server_default=sa.text("nextval('serials')"), nullable=False),
            sa.Column("state", sa.Enum("new", "done", name="project_state"), server_default="new"),
            sa.Column("size", sa.BigInteger(), sa.Identity(always=False)),
            sa.PrimaryKeyConstraint("id"),
            sa.CheckConstraint("name ~* '^([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])$'::text",
                               name="projects_valid_name"),
        )
        op.execute("INSERT INTO projects (name) SELECT 'Project.' || n FROM generate_series(1, 200) n")
        op.create_table(
            "scans",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("project", sa.UUID(), nullable=False),
            sa.Column("during", postgresql.TSTZRANGE(), nullable=False),
            sa.Column("tags", postgresql.ARRAY(sa.Text())),
            sa.ForeignKeyConstraint(["project"], ["projects.id"], onupdate="CASCADE", ondelete="CASCADE",
                                    deferrable=True, initially="DEFERRED"),
            schema="malware",
        )
        op.execute("INSERT INTO malware.scans (project, during) SELECT id, tstzrange(to_timestamp(serial), "
                   "to_timestamp(serial + 1)) FROM projects")
        """,
        """
        op.drop_table("scans", schema="malware")
        op.drop_table("projects")
        op.execute("DROP TYPE project_state")
        op.execute(sa.schema.DropSequence(sa.Sequence("serials")))
        op.execute("DROP FUNCTION canonical(text)")
        op.execute("DROP SCHEMA malware")
        """,
    ),
    (
        """
        op.add_column("projects", sa.Column("normalized_name", sa.Text(),
                                            sa.Computed("lower(name)", persisted=True), nullable=True))
        op.add_column("projects", sa.Column("lifecycle", sa.Text(), nullable=True))
        op.execute(\"\"\"
            DO $$
            DECLARE r record;
            BEGIN
                FOR r IN SELECT id FROM projects WHERE serial % 2 = 0 LOOP
                    UPDATE projects SET lifecycle = 'archived: 50%' WHERE id = r.id;
                END LOOP;
            END $$;
        \"\"\")
        with op.get_context().autocommit_block():
            op.create_index("projects_name_ci", "projects", [sa.text("canonical(name)")], unique=True,
                            postgresql_concurrently=True, if_not_exists=True)
            op.execute("ALTER TYPE project_state ADD VALUE IF NOT EXISTS 'gone' AFTER 'new'")
        op.create_exclude_constraint("scans_no_overlap", "scans", ("during", "&&"), schema="malware",
                                     using="gist", where=sa.text("id > 100000"))
        op.create_index("scans_tags", "scans", ["tags"], postgresql_using="gin", schema="malware")
        op.execute(
            "CREATE MATERIALIZED VIEW project_counts AS SELECT state, count(*) AS n FROM projects GROUP BY 1"
        )
        op.create_index("project_counts_state", "project_counts", ["state"], unique=True)
        """,
        """
        op.execute("DROP MATERIALIZED VIEW project_counts")
        op.drop_index("scans_tags", table_name="scans", schema="malware", postgresql_using="gin")
        op.drop_constraint("scans_no_overlap", "scans", schema="malware")
        with op.get_context().autocommit_block():
            op.drop_index("projects_name_ci", "projects", postgresql_concurrently=True, if_exists=True)
        op.drop_column("projects", "lifecycle")
        op.drop_column("projects", "normalized_name")
        """,
    ),
    (
        """
        op.execute(\"\"\"
            CREATE FUNCTION touch() RETURNS trigger AS $$
            BEGIN
                NEW.size := coalesce(NEW.size, 0) + 1;
                RETURN NEW;
            END;
            $$ LANGUAGE plpgsql;
            CREATE TRIGGER projects_touch BEFORE UPDATE OF name ON projects
                FOR EACH ROW EXECUTE PROCEDURE touch();
            ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
        \"\"\")
        op.add_column("projects", sa.Column("has_docs", sa.Boolean(), nullable=True))
        op.execute("UPDATE projects SET has_docs = (serial % 2 = 0)")
        op.alter_column("projects", "has_docs", nullable=False, server_default=sa.false())
        op.add_column("projects", sa.Column("token", sa.UUID(), server_default=sa.text("gen_random_uuid()"),
                                            nullable=False, unique=True))
        op.add_column("projects", sa.Column("parent", sa.UUID(), sa.ForeignKey("projects.id", name="up_fk")))
        op.create_foreign_key(None, "projects", "projects", ["parent"], ["id"], onupdate="CASCADE")
        op.alter_column("projects", "serial", type_=sa.BigInteger(), existing_server_default=sa.text("nextval('serials')"))
        op.create_index(op.f("ix_projects_serial"), "projects", ["serial"])
        """,
        """
        op.drop_index(op.f("ix_projects_serial"))
        op.alter_column("projects", "serial", type_=sa.Integer())
        op.drop_constraint("projects_parent_fkey", "projects")
        op.drop_column("projects", "parent")
        op.drop_column("projects", "token")
        op.drop_column("projects", "has_docs")
        op.execute("DROP TRIGGER projects_touch ON projects; DROP FUNCTION touch()")
        op.execute("ALTER TABLE projects DISABLE ROW LEVEL SECURITY")
        """,
    ),
    (
        """
        op.execute("DROP MATERIALIZED VIEW project_counts")
        op.execute("ALTER TYPE project_state RENAME TO project_state_old")
        kinds = postgresql.ENUM("new", "done", "lost", name="project_state")
        kinds.create(op.get_bind())
        op.execute("UPDATE projects SET state = 'new' WHERE state IS NULL")
        op.alter_column("projects", "state", server_default=None)
        op.alter_column("projects", "state", type_=kinds, postgresql_using="state::text::project_state",
                        existing_nullable=True)
        op.alter_column("projects", "state", server_default="new", nullable=False)
        op.execute("DROP TYPE project_state_old")
        op.execute(
            "CREATE MATERIALIZED VIEW project_counts AS SELECT state, count(*) AS n FROM projects GROUP BY 1"
        )
        op.create_check_constraint("lifecycle_known", "projects", sa.or_(sa.column("lifecycle").is_(None),
                                   sa.column("lifecycle").like("archived%")))
        """,
        """
        op.drop_constraint("lifecycle_known", "projects", type_="check")
        op.alter_column("projects", "state", nullable=True)
        """,
    ),
]
