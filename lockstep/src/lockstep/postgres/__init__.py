"""PostgreSQL itself: its catalog, names and sessions. Nothing of Alembic."""
