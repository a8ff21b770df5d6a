"""visits are people"s"""

from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.create_foreign_key(
        "visits_person_id_fkey",
        "visits",
        "people",
        ["person_id"],
        ["id"],
        source_schema="stats",
        referent_schema="app",
    )
    op.create_index("ix_stats_visits_person_id", "visits", ["person_id"], schema="stats")


def downgrade() -> None:
    op.drop_index("ix_stats_visits_person_id", "visits", schema="stats")
    op.drop_constraint("visits_person_id_fkey", "visits", schema="stats")
