"""people and visits"""

import sqlalchemy as sa
from alembic import op

revision = "r1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text()),
        sa.Column("balance", sa.Integer()),
        schema="app",
    )
    op.execute(
        "INSERT INTO app.people (name, balance) SELECT 'person ' || n, n FROM generate_series(1, 1000) n"
    )
    op.create_table(
        "visits", sa.Column("person_id", sa.Integer()), sa.Column("day", sa.Date()), schema="stats"
    )
    op.execute("INSERT INTO stats.visits SELECT id, DATE '2026-01-01' + id FROM app.people")


def downgrade() -> None:
    op.drop_table("visits", schema="stats")
    op.drop_table("people", schema="app")
