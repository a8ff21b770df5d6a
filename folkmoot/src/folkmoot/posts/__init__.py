"""What people write: posts, votes, and lists of posts."""
