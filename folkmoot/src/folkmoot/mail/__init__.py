"""Mail: written down with what causes it, and sent when the mail server takes it."""
