"""The ``folkmoot`` command, and ``python -m folkmoot``.

The process that hashes passwords imports the program that it was started by, and so this file; what the
command needs is imported when it runs.
"""


def main() -> None:
    """Run the command."""
    from folkmoot.commands.main import main as command  # noqa: PLC0415 - see above

    command()


if __name__ == "__main__":
    main()
