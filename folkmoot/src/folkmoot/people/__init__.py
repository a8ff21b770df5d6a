"""Who takes part: accounts, sessions, and limits on what each may ask."""
