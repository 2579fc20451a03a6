"""The tests mirror the package; ``tests.cli.command`` is shared by the tests of the command."""
