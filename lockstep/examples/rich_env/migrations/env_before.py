import asyncio

from alembic import context
from database import engine
from models import metadata
from options import include_object, no_empty_revision, render_item


def migrate(connection):
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        version_table_schema="app",
        include_object=include_object,
        compare_type=True,
        render_item=render_item,
        process_revision_directives=no_empty_revision,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run():
    async with engine.connect() as connection:
        await connection.run_sync(migrate)


asyncio.run(run())
