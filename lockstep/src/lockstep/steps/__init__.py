"""A step as data, and how it is run so that nobody waits for it."""
