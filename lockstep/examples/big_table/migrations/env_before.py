import os

import sqlalchemy as sa
from alembic import context

import lockstep  # noqa: F401  # op.backfill, one UPDATE without lockstep.run()

engine = sa.create_engine(os.environ["DATABASE_URL"], poolclass=sa.pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
