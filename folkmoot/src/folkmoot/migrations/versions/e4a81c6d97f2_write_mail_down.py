"""write mail down

The outbox: mail is written down in the transaction that causes it, and sent when the mail server takes it.
The links in it are good for one use; of each only a hash is kept. Who has followed the link to an address has
verified it.

Revision ID: e4a81c6d97f2
Revises: b3f7a2c90e54
Create Date: 2026-11-28
"""

import sqlalchemy as sa
from alembic import op

revision = "e4a81c6d97f2"
down_revision = "b3f7a2c90e54"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("email_verified_at", sa.TIMESTAMP(timezone=True), nullable=True))
    now = sa.text("now()")
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("link", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.Column("due_at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("outbox_due_at_idx", "outbox", ["due_at"])
    op.create_index("outbox_user_id_idx", "outbox", ["user_id"])
    op.create_table(
        "email_links",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index("email_links_user_id_idx", "email_links", ["user_id"])
    op.create_index("email_links_expires_at_idx", "email_links", ["expires_at"])


def downgrade() -> None:
    op.drop_table("email_links")
    op.drop_table("outbox")
    op.drop_column("users", "email_verified_at")
