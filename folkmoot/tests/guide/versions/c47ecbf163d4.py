import sqlalchemy as sa
from alembic import op

revision = "c47ecbf163d4"
down_revision = "036aa392dfb0"


def upgrade() -> None:
    op.add_column("users", sa.Column("phone_number", sa.String(), nullable=True))
