"""Command-line options that several recipes have."""

from __future__ import annotations

import argparse
from typing import Any


def add_renamed(parser: argparse.ArgumentParser, name: str, old_name: str, **options: Any) -> None:
    """Add an option that may be given by its old name too; the old one is not shown in the help.

    Parameters
    ----------
    parser : ArgumentParser
        Changed in place.
    name, old_name : str
        E.g. ``--scenario`` and ``--law``.
    **options
        As for ``add_argument``.
    """
    group = parser.add_mutually_exclusive_group(required=options.pop("required", False))
    action = group.add_argument(name, **options)
    group.add_argument(old_name, **{**options, "dest": action.dest, "help": argparse.SUPPRESS})
