"""What a migration would do to a database that others use, found by running it elsewhere."""
