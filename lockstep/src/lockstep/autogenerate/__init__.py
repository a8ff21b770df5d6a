"""What ``alembic revision --autogenerate`` writes: revisions that run while the program before them runs."""
