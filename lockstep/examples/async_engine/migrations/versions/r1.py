"""people"""

import sqlalchemy as sa
from alembic import op

revision = "r1"
down_revision = None


def upgrade() -> None:
    op.create_table("people", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.Text()))
    op.execute("INSERT INTO people (name) SELECT 'person ' || n FROM generate_series(1, 1000) n")


def downgrade() -> None:
    op.drop_table("people")
