"""A dashboard's history: sessions and declarative models in revisions, look-ups of constraints by reflection."""
# ruff: noqa: E501 (revisions are as long as their projects write them)

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
