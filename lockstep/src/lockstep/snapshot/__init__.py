"""The catalog as text: what a revision leaves behind, and whether a database still is that."""
