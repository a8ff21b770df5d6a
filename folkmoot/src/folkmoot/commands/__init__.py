"""The ``folkmoot`` command: a file each."""
