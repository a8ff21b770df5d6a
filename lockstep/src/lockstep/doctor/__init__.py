"""What everybody meets with Alembic: each known by its symptom, looked for, and said with what to type."""
