"""teams"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "r2"
down_revision = "r1"


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.add_column("people", sa.Column("team_id", sa.Integer(), nullable=True))
    op.create_foreign_key("people_team_id_fkey", "people", "teams", ["team_id"], ["id"])
    op.create_index(op.f("ix_people_name"), "people", ["name"])


def downgrade() -> None:
    op.drop_index(op.f("ix_people_name"), table_name="people")
    op.drop_constraint("people_team_id_fkey", "people", type_="foreignkey")
    op.drop_column("people", "team_id")
    op.drop_table("teams")
