"""merged"""

revision = "r3"
down_revision = ("r2a", "r2b")


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
