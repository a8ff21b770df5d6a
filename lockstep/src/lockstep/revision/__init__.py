"""One revision under way: what runs its function, and what is written down of it."""
