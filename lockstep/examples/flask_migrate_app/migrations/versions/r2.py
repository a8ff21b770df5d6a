"""wide ids"""

import sqlalchemy as sa
from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    with op.batch_alter_table("people") as batch:
        batch.alter_column("id", existing_type=sa.Integer(), type_=sa.BigInteger())


def downgrade() -> None:
    with op.batch_alter_table("people") as batch:
        batch.alter_column("id", existing_type=sa.BigInteger(), type_=sa.Integer())
