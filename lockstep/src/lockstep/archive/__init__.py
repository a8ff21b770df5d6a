"""What a downgrade drops is kept, and given back when the same revision runs up again."""
