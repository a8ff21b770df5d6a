"""Chains of revisions in the manners of large open-source projects, from nothing to a schema with rows."""
# ruff: noqa: E501 (revisions are as long as their projects write them)

from __future__ import annotations

import sqlalchemy as sa

NAMED = sa.MetaData(
    naming_convention={
        "ix": "idx_%(table_name)s_%(column_0_N_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_uq",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

#: A scheduler's: inspection before each change, batch_alter_table everywhere, SQL by dialect, MetaData in code.
SCHEDULER = [
    (
        """
        conn = op.get_bind()
        inspector = sa.inspect(conn)
        tables = inspector.get_table_names()
        if "dag" not in tables:
            op.create_table(
                "dag",
                sa.Column("dag_id", sa.String(length=250), nullable=False),
                sa.Column("is_paused", sa.Boolean(), nullable=True),
                sa.Column("last_run", sa.TIMESTAMP(timezone=True), nullable=True),
                sa.Column("pickle", sa.LargeBinary(), nullable=True),
                sa.Column("extra", sa.JSON(), nullable=True),
                sa.PrimaryKeyConstraint("dag_id"),
            )
        if "task_instance" not in tables:
            op.create_table(
                "task_instance",
                sa.Column("task_id", sa.String(length=250), nullable=False),
                sa.Column("dag_id", sa.String(length=250), nullable=False),
                sa.Column("execution_date", sa.TIMESTAMP(timezone=True), nullable=False),
                sa.Column("state", sa.String(length=20), nullable=True),
                sa.Column("try_number", sa.Integer(), nullable=True),
                sa.Column("pool", sa.String(length=50)),
                sa.PrimaryKeyConstraint("task_id", "dag_id", "execution_date"),
            )
            op.create_index("ti_dag_state", "task_instance", ["dag_id", "state"], unique=False)
            op.create_index("ti_pool", "task_instance", ["pool", "state"], unique=False)
        op.create_table(
            "log",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("dttm", sa.TIMESTAMP(timezone=True), nullable=True),
            sa.Column("event", sa.String(length=30), nullable=True),
            sa.Column("owner", sa.String(length=500), nullable=True),
            sa.PrimaryKeyConstraint("id"),
        )
        """,
        """
        op.drop_table("log")
        op.drop_index("ti_pool", table_name="task_instance")
        op.drop_index("ti_dag_state", table_name="task_instance")
        op.drop_table("task_instance")
        op.drop_table("dag")
        """,
    ),
    (
        """
        dag = sa.table("dag", sa.column("dag_id", sa.String), sa.column("is_paused", sa.Boolean))
        op.bulk_insert(dag, [{"dag_id": f"dag_{n}", "is_paused": n % 3 == 0} for n in range(40)])
        op.execute(
            "INSERT INTO task_instance (task_id, dag_id, execution_date, state, try_number) "
            "SELECT 't' || n, 'dag_' || n % 40, timestamptz '2024-01-01' + n * interval '1 hour', "
            "CASE n % 3 WHEN 0 THEN 'success' WHEN 1 THEN 'failed' END, n % 5 FROM generate_series(1, 300) n"
        )
        op.execute("INSERT INTO log (event, owner) SELECT 'e' || n, 'o' FROM generate_series(1, 50) n")
        """,
        """
        op.execute("DELETE FROM log")
        op.execute("DELETE FROM task_instance")
        op.execute("DELETE FROM dag")
        """,
    ),
    (
        """
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.add_column(sa.Column("run_id", sa.String(length=250), nullable=True))
            batch_op.add_column(sa.Column("map_index", sa.Integer(), server_default="-1", nullable=False))
        conn = op.get_bind()
        ti = sa.table("task_instance", sa.column("run_id"), sa.column("execution_date"))
        conn.execute(ti.update().values(run_id=sa.func.concat("manual__", sa.cast(ti.c.execution_date, sa.Text))))
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.alter_column("run_id", existing_type=sa.String(length=250), nullable=False)
            batch_op.drop_constraint("task_instance_pkey", type_="primary")
            batch_op.create_primary_key("task_instance_pkey", ["dag_id", "task_id", "run_id", "map_index"])
            batch_op.drop_column("execution_date")
        """,
        """
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.add_column(sa.Column("execution_date", sa.TIMESTAMP(timezone=True), nullable=True))
        op.execute("UPDATE task_instance SET execution_date = substr(run_id, 9)::timestamptz")
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.alter_column("execution_date", existing_type=sa.TIMESTAMP(timezone=True), nullable=False)
            batch_op.drop_constraint("task_instance_pkey", type_="primary")
            batch_op.create_primary_key("task_instance_pkey", ["task_id", "dag_id", "execution_date"])
            batch_op.drop_column("map_index")
            batch_op.drop_column("run_id")
        """,
    ),
    (
        """
        conn = op.get_bind()
        if conn.dialect.name == "postgresql":
            with op.batch_alter_table("dag") as batch_op:
                batch_op.alter_column(
                    "extra", existing_type=sa.JSON(), type_=postgresql.JSONB(), postgresql_using="extra::jsonb"
                )
        with op.batch_alter_table("log") as batch_op:
            batch_op.alter_column("event", existing_type=sa.String(30), type_=sa.String(60))
            batch_op.alter_column("owner", existing_type=sa.String(500), type_=sa.Text())
            batch_op.alter_column("id", existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
            batch_op.create_index("idx_log_event", ["event"])
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.alter_column("try_number", existing_type=sa.INTEGER(), server_default=sa.text("'0'"))
            batch_op.create_foreign_key(
                "task_instance_dag_fkey", "dag", ["dag_id"], ["dag_id"], ondelete="CASCADE"
            )
            batch_op.create_check_constraint("ti_tries", sa.text("try_number >= 0"))
        """,
        """
        with op.batch_alter_table("task_instance") as batch_op:
            batch_op.drop_constraint("ti_tries", type_="check")
            batch_op.drop_constraint("task_instance_dag_fkey", type_="foreignkey")
            batch_op.alter_column("try_number", existing_type=sa.INTEGER(), server_default=None)
        with op.batch_alter_table("log") as batch_op:
            batch_op.drop_index("idx_log_event")
            batch_op.alter_column("id", existing_type=sa.BigInteger(), type_=sa.Integer())
            batch_op.alter_column("owner", existing_type=sa.Text(), type_=sa.String(500))
            batch_op.alter_column("event", existing_type=sa.String(60), type_=sa.String(30))
        op.alter_column("dag", "extra", type_=sa.JSON(), postgresql_using="extra::json")
        """,
    ),
    (
        """
        op.create_table(
            "dag_run",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("dag_id", sa.String(250), sa.ForeignKey("dag.dag_id"), nullable=False),
            sa.Column("kind", sa.Enum("manual", "scheduled", name="run_kind"), nullable=False,
                      server_default="manual"),
            sa.Column("conf", postgresql.ARRAY(sa.String()), server_default="{}"),
            sa.UniqueConstraint("dag_id", "kind", name="dag_run_dag_id_kind_key"),
        )
        op.execute("INSERT INTO dag_run (dag_id) SELECT dag_id FROM dag")
        op.rename_table("dag_run", "run")
        op.execute("ALTER SEQUENCE dag_run_id_seq RENAME TO run_id_seq")
        with op.batch_alter_table("run") as batch_op:
            batch_op.drop_constraint("dag_run_dag_id_kind_key", type_="unique")
            batch_op.alter_column("kind", existing_type=sa.Enum(name="run_kind"), type_=sa.String(50),
                                  existing_nullable=False, postgresql_using="kind::text")
        op.execute("ALTER TABLE run ALTER COLUMN kind DROP DEFAULT")
        sa.Enum(name="run_kind").drop(op.get_bind(), checkfirst=False)
        """,
        """
        op.execute("CREATE TYPE run_kind AS ENUM ('manual', 'scheduled')")
        op.execute("DROP TABLE run")
        sa.Enum(name="run_kind").drop(op.get_bind(), checkfirst=True)
        """,
    ),
]

#: A dashboard's: sessions and declarative models in revisions, look-ups of constraints by reflection.
DASHBOARD = [
    (
        """
        op.create_table(
            "tables",
            sa.Column("created_on", sa.DateTime(), nullable=True),
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("table_name", sa.String(length=250), nullable=True),
            sa.Column("database_id", sa.Integer(), nullable=False),
            sa.Column("params", sa.Text(), nullable=True),
            sa.Column("is_featured", sa.Boolean(), nullable=True),
            sa.PrimaryKeyConstraint("id"),
            sa.UniqueConstraint("table_name"),
        )
        op.create_table(
            "columns",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("table_id", sa.Integer(), nullable=True),
            sa.Column("column_name", sa.String(length=255), nullable=True),
            sa.Column("groupby", sa.Boolean(), nullable=True),
            sa.ForeignKeyConstraint(["table_id"], ["tables.id"]),
            sa.PrimaryKeyConstraint("id"),
        )
        """,
        """
        op.drop_table("columns")
        op.drop_table("tables")
        """,
    ),
    (
        """
        from sqlalchemy.orm import Session, declarative_base
        Base = declarative_base()

        class Dataset(Base):
            __tablename__ = "tables"
            id = sa.Column(sa.Integer, primary_key=True)
            table_name = sa.Column(sa.String(250))
            database_id = sa.Column(sa.Integer)
            params = sa.Column(sa.Text)

        session = Session(bind=op.get_bind())
        for n in range(30):
            session.add(Dataset(table_name=f"t{n}", database_id=n % 3, params='{"a": "100%"}'))
        session.commit()
        for dataset in session.query(Dataset).filter(Dataset.database_id == 1):
            dataset.params = None
        session.commit()
        session.close()
        op.execute("INSERT INTO columns (table_id, column_name) SELECT id, 'c' || id FROM tables")
        """,
        """
        op.execute("DELETE FROM columns; DELETE FROM tables")
        """,
    ),
    (
        """
        def generic_find(table, columns, referred, insp):
            for fk in insp.get_foreign_keys(table):
                if fk["referred_table"] == referred and set(fk["referred_columns"]) == columns:
                    return fk["name"]

        insp = sa.inspect(op.get_bind())
        with op.batch_alter_table("columns") as batch_op:
            batch_op.drop_constraint(generic_find("columns", {"id"}, "tables", insp), type_="foreignkey")
        with op.batch_alter_table("columns") as batch_op:
            batch_op.create_foreign_key("fk_columns_tables", "tables", ["table_id"], ["id"], ondelete="CASCADE")
            batch_op.add_column(sa.Column("uuid", postgresql.UUID(as_uuid=True), nullable=True,
                                          server_default=sa.text("'00000000-0000-0000-0000-000000000000'")))
            batch_op.create_unique_constraint("uq_columns_name", ["table_id", "column_name"])
        op.add_column("tables", sa.Column("schema", sa.String(255), nullable=True))
        names = [u["name"] for u in sa.inspect(op.get_bind()).get_unique_constraints("tables")]
        for name in names:
            op.drop_constraint(name, "tables", type_="unique")
        op.create_unique_constraint("_customer_location_uc", "tables", ["database_id", "schema", "table_name"])
        with op.batch_alter_table(
            "tables", naming_convention={"uq": "uq_%(table_name)s_%(column_0_name)s"}
        ) as batch_op:
            batch_op.create_unique_constraint("named_anyway", ["id", "table_name"])
        """,
        """
        op.drop_constraint("named_anyway", "tables")
        op.drop_constraint("_customer_location_uc", "tables", type_="unique")
        op.create_unique_constraint("tables_table_name_key", "tables", ["table_name"])
        op.drop_column("tables", "schema")
        with op.batch_alter_table("columns") as batch_op:
            batch_op.drop_constraint("uq_columns_name", type_="unique")
            batch_op.drop_column("uuid")
            batch_op.drop_constraint("fk_columns_tables", type_="foreignkey")
            batch_op.create_foreign_key("columns_table_id_fkey", "tables", ["table_id"], ["id"])
        """,
    ),
    (
        """
        bind = op.get_bind()
        metadata = sa.MetaData()
        tables = sa.Table("tables", metadata, autoload_with=bind)
        bind.execute(tables.update().where(tables.c.is_featured.is_(None)).values(is_featured=False))
        with op.batch_alter_table("tables", recreate="auto", copy_from=None) as batch_op:
            batch_op.alter_column("is_featured", existing_type=sa.Boolean(), nullable=False,
                                  server_default=sa.false(), new_column_name="featured")
            batch_op.alter_column("database_id", existing_type=sa.Integer(), type_=sa.BigInteger(),
                                  existing_nullable=False)
            batch_op.alter_column("params", existing_type=sa.Text(), comment="as JSON: 100% 'text'")
        op.create_table_comment("tables", "what it's for")
        op.execute(
            sa.text("UPDATE columns SET column_name = :new WHERE column_name = :old").bindparams(
                new="c:1%", old="c1")
        )
        """,
        """
        op.drop_table_comment("tables")
        with op.batch_alter_table("tables") as batch_op:
            batch_op.alter_column("params", comment=None)
            batch_op.alter_column("database_id", type_=sa.Integer())
            batch_op.alter_column("featured", nullable=True, server_default=None, new_column_name="is_featured")
        """,
    ),
]

#: A package index's: PostgreSQL's own features, raw SQL, triggers, enums that grow, indexes made concurrently.
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

HISTORIES = {"scheduler": SCHEDULER, "dashboard": DASHBOARD, "index": INDEX}
