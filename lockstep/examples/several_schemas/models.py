import sqlalchemy as sa

metadata = sa.MetaData(schema="app")
sa.Table("people", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
sa.Table(
    "visits",
    metadata,
    sa.Column("person_id", sa.ForeignKey("app.people.id"), index=True),
    sa.Column("day", sa.Date),
    schema="stats",
)


def include_object(found, name, kind, reflected, compared):
    return not (kind == "table" and name.startswith("old_"))
