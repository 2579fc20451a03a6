"""Settings as commented YAML, one file a section."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from wsigraph.config.runtime import Section
from wsigraph.config.tree import Config
from wsigraph.errors import ConfigError


def render(section: str, values: Section | None = None) -> str:
    """Return one section as commented YAML.

    Parameters
    ----------
    section : str
        Field of `Config`.
    values : Section, optional
        Values to render; the defaults where left out.

    Returns
    -------
    str
        The text of ``configs/<section>.yaml``.
    """
    kind = type(getattr(Config(), section))
    shown = values if values is not None else kind()
    lines = [f"# {(kind.__doc__ or '').strip().splitlines()[0]}"]
    for name, info in kind.model_fields.items():
        value = json.loads(json.dumps(getattr(shown, name)))
        text = yaml.safe_dump({name: value}, default_flow_style=False, allow_unicode=True).strip()
        lines += ["", f"# {info.description}{_bounds(info.metadata)}", text]
    return "\n".join(lines) + "\n"


def write(directory: Path) -> list[Path]:
    """Write every section's defaults as ``<section>.yaml`` below `directory` and return the paths.

    Raises
    ------
    ConfigError
        If the directory cannot be written.
    """
    paths = [directory / f"{section}.yaml" for section in Config.model_fields]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.write_text(render(path.stem), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {directory}: {error.strerror}; choose another directory") from None
    return paths


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(bound, key):g}" for bound in metadata for key, sign in signs.items() if hasattr(bound, key)
    ]
    return f" ({', '.join(bounds)})" if bounds else ""
