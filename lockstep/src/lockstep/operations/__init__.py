"""How each of Alembic's operations runs: a file an operation family."""
