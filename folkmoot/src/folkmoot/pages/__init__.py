"""What people see in a browser: HTML over the same queries as the API."""
