"""who is tired"""

from alembic import op

revision = "r3"
down_revision = "r2"


def upgrade() -> None:
    op.execute("UPDATE people SET mood = 'tired' WHERE id % 10 = 0")
    op.execute(
        "CREATE FUNCTION tired_people() RETURNS bigint LANGUAGE sql STABLE "
        "AS $$SELECT count(*) FROM people WHERE mood = 'tired'$$"
    )
    op.create_index("people_mood", "people", ["mood"])


def downgrade() -> None:
    op.drop_index("people_mood", "people")
    op.execute("DROP FUNCTION tired_people()")
    op.execute("UPDATE people SET mood = 'glad' WHERE mood = 'tired'")
