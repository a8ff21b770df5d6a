"""What all routes keep to: HTTP's conventions, and no feature."""
