"""widen ids

Every id that is integer becomes bigint, and so does the sequence that it comes from. Lockstep does it beside
the running service; the columns move to the end of their rows.

The triggers that count votes and rank posts fire for the rows that are rewritten where the role may not keep
them from it; they find that nothing of theirs has changed.

Revision ID: d2c61f0ab873
Revises: 9e07b3d4c615
Create Date: 2026-11-22
"""

import sqlalchemy as sa
from alembic import op

import lockstep

revision = "d2c61f0ab873"
down_revision = "9e07b3d4c615"
branch_labels = None
depends_on = None

# What is referred to comes before what refers to it.
IDS = (("users", "id"), ("posts", "id"), ("posts", "owner_id"), ("votes", "user_id"), ("votes", "post_id"))
SEQUENCES = ("users_id_seq", "posts_id_seq")
# PostgreSQL changes the type of no column that a trigger names. Without owner_id the trigger does all but
# raise the version of a post that is given to somebody else, which the service never does.
DESCRIBED = """
CREATE OR REPLACE TRIGGER posts_described BEFORE INSERT OR UPDATE OF title, content, published{owner} ON posts
FOR EACH ROW EXECUTE FUNCTION describe_post()
"""


def upgrade() -> None:
    op.execute(DESCRIBED.format(owner=""))
    with lockstep.firing():
        for table, column in IDS:
            op.alter_column(table, column, type_=sa.BigInteger(), existing_type=sa.Integer())
    op.execute(DESCRIBED.format(owner=", owner_id"))
    for sequence in SEQUENCES:
        op.execute(f"ALTER SEQUENCE {sequence} AS bigint")


def downgrade() -> None:
    # First, because PostgreSQL refuses it where ids have outgrown integer.
    for sequence in SEQUENCES:
        op.execute(f"ALTER SEQUENCE {sequence} AS integer")
    op.execute(DESCRIBED.format(owner=""))
    with lockstep.firing():
        for table, column in reversed(IDS):
            op.alter_column(table, column, type_=sa.Integer(), existing_type=sa.BigInteger())
    op.execute(DESCRIBED.format(owner=", owner_id"))
