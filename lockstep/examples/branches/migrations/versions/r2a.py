"""one developer"s"""

from alembic import op

revision = "r2a"
down_revision = "r1"


def upgrade() -> None:
    op.create_index("people_name", "people", ["name"])


def downgrade() -> None:
    op.drop_index("people_name", "people")
