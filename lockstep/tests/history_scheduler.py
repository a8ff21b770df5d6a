"""A scheduler's history: inspection before each change, batch_alter_table everywhere, SQL by dialect,
MetaData in code.
"""
# ruff: noqa: E501 (revisions are as long as their projects write them)

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
