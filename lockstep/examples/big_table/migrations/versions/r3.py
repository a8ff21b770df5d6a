"""more events than an integer counts"""

import sqlalchemy as sa
from alembic import op

revision = "r3"
down_revision = "r2"


def upgrade() -> None:
    op.alter_column("events", "id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.create_unique_constraint("events_once", "events", ["at", "id"])


def downgrade() -> None:
    op.drop_constraint("events_once", "events")
    op.alter_column("events", "id", existing_type=sa.BigInteger(), type_=sa.Integer())
