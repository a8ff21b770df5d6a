import sqlalchemy as sa
from alembic import op

revision = "01b2584928a5"
down_revision = "cfcc4fd02d18"


def upgrade() -> None:
    op.add_column("posts", sa.Column("content", sa.String(), nullable=False))
