"""A database as files: written while people go on, checked, and brought back."""
