import os

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("+psycopg", "+asyncpg"),
    poolclass=NullPool,
    connect_args={"server_settings": {"application_name": "shop", "search_path": "public"}},
)
