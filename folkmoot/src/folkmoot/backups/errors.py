"""What goes wrong with a backup, in a sentence that says what to do."""


class BackupError(Exception):
    """A backup could not be taken, read or restored. The text is ready to be shown."""
