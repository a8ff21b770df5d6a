"""people"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "r1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "people",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO people (name) SELECT 'person ' || n FROM generate_series(1, 1000) n")


def downgrade() -> None:
    op.drop_table("people")
