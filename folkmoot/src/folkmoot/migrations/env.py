"""How Alembic reaches the database: the one of the settings, the embedded one by default."""

from logging.config import fileConfig

from alembic import context

import lockstep
from folkmoot.postgres import database, models
from folkmoot.settings import load

if context.config.config_file_name:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

with database.explained():
    settings = load()
    with database.server(settings):
        lockstep.run(
            url=database.sqlalchemy_url(settings),
            target_metadata=models.Base.metadata,
            compare_server_default=True,
        )
