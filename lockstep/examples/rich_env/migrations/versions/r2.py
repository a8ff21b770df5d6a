"""names by the convention, balances in cents"""

import sqlalchemy as sa
from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.create_unique_constraint(None, "people", ["name"], schema="app")
    op.create_foreign_key(
        None, "visits", "people", ["person_id"], ["id"], source_schema="stats", referent_schema="app"
    )
    op.alter_column("people", "balance", type_=sa.BigInteger(), nullable=False, schema="app")


def downgrade() -> None:
    op.alter_column("people", "balance", type_=sa.Integer(), nullable=True, schema="app")
    op.drop_constraint("visits_person_id_fk", "visits", schema="stats")
    op.drop_constraint("people_name_key", "people", schema="app")
