import sqlalchemy as sa

metadata = sa.MetaData(
    schema="app",
    naming_convention={
        "pk": "%(table_name)s_pk",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)


class Money(sa.types.TypeDecorator):
    """Cents."""

    impl = sa.BigInteger
    cache_ok = True


sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, unique=True),
    sa.Column("balance", Money, nullable=False),
)
sa.Table(
    "visits",
    metadata,
    sa.Column("person_id", sa.ForeignKey("app.people.id")),
    sa.Column("day", sa.Date),
    schema="stats",
)
