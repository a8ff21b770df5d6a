"""when somebody came"""

import sqlalchemy as sa
from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.add_column("people", sa.Column("came", sa.Date(), server_default="2026-01-01", nullable=False))
    op.create_check_constraint("people_came", "people", "came >= '2000-01-01'")


def downgrade() -> None:
    op.drop_constraint("people_came", "people")
    op.drop_column("people", "came")
