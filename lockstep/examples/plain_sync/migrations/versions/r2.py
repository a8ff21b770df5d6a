"""a name is required, and looked for"""

from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.alter_column("people", "name", nullable=False)
    op.create_index(op.f("ix_people_name"), "people", ["name"])


def downgrade() -> None:
    op.drop_index(op.f("ix_people_name"), "people")
    op.alter_column("people", "name", nullable=True)
