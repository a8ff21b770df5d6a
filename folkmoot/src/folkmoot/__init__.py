"""A service in which people register, write posts and vote."""
