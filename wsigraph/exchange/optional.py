"""Optional packages for import and export, imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wsigraph.errors import PluginError

EXTRA = "exchange"
"""The extra that installs most of them."""


def load_package(name: str, purpose: str, *, extra: str = EXTRA) -> Any:
    """Import a package of an extra.

    Parameters
    ----------
    name : str
        Package or module, e.g. ``"pyarrow.parquet"``.
    purpose : str
        What it is needed for, for the message.
    extra : str
        The extra that installs it.

    Returns
    -------
    module
        The module.

    Raises
    ------
    PluginError
        If it is not installed or does not import.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise PluginError(
            f"{purpose} needs the package {package} ({error}); install it with: pip install 'wsigraph[{extra}]'"
        ) from None
