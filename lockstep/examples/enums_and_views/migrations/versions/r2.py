"""a third mood"""

from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE mood ADD VALUE IF NOT EXISTS 'tired'")


def downgrade() -> None:
    pass
