"""PostgreSQL: the embedded server, connections, the tables."""
