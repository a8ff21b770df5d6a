"""How Alembic reaches the database: the one of the settings, the embedded one by default."""

from logging.config import fileConfig

from alembic import context
from sqlalchemy import create_engine, pool

from folkmoot import database, models
from folkmoot.settings import load

if context.config.config_file_name:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

with database.explained():
    settings = load()
    if context.is_offline_mode():
        context.configure(dialect_name="postgresql", literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
    else:
        with database.server(settings):
            engine = create_engine(database.sqlalchemy_url(settings), poolclass=pool.NullPool)
            with engine.connect() as connection:
                context.configure(
                    connection=connection,
                    target_metadata=models.Base.metadata,
                    compare_server_default=True,
                    transaction_per_migration=True,
                )
                with context.begin_transaction():
                    context.run_migrations()
