"""people with a mood"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "r1"
down_revision = None


def upgrade() -> None:
    mood = sa.Enum("glad", "sad", name="mood")
    mood.create(op.get_bind())
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.Text()),
        sa.Column("mood", postgresql.ENUM(name="mood", create_type=False)),
    )
    op.execute(
        "INSERT INTO people (name, mood) SELECT 'person ' || n, 'glad' FROM generate_series(1, 1000) n"
    )
    op.execute("CREATE VIEW glad_people AS SELECT id, name FROM people WHERE mood = 'glad'")


def downgrade() -> None:
    op.execute("DROP VIEW glad_people")
    op.drop_table("people")
    op.execute("DROP TYPE mood")
