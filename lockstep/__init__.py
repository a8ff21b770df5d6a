"""Safe schema evolution for Alembic and PostgreSQL."""
