"""What an env.py calls."""
