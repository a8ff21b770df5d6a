"""another developer"s"""

import sqlalchemy as sa
from alembic import op

revision = "r2b"
down_revision = "r1"


def upgrade() -> None:
    op.add_column("people", sa.Column("nick", sa.Text()))


def downgrade() -> None:
    op.drop_column("people", "nick")
