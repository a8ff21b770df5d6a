"""count requests

A table of how often each client and each person did what is limited, unlogged: after a crash of the database
everybody begins anew. And an index that finds whether there are hashes of bcrypt still, and the dearest one.

Revision ID: 6c4e1f90b2d7
Revises: d2c61f0ab873
Create Date: 2026-11-24
"""

import sqlalchemy as sa
from alembic import op

revision = "6c4e1f90b2d7"
down_revision = "d2c61f0ab873"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "request_counts",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("until", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("request_counts_until_idx", "request_counts", ["until"])
    op.create_index(
        "users_bcrypt_cost", "users", [sa.text("substr(password::text, 5, 2)")],
        postgresql_where=sa.text("password ~ '^\\$2[aby]\\$(0[4-9]|1[0-5])\\$[./A-Za-z0-9]{53}$'"),
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("users_bcrypt_cost", table_name="users")
    op.drop_table("request_counts")
