"""Settings from defaults, files and overrides. An error names an unknown key and the most similar known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wsigraph.config.tree import Config
from wsigraph.errors import ConfigError


def load(files: Iterable[Path] = (), overrides: Iterable[str] = ()) -> Config:
    """Return the settings from defaults, files and overrides, later ones winning.

    Parameters
    ----------
    files : iterable of Path
        A section file (``superpixel.yaml`` holds that section's keys), an overlay of several sections (any other
        name; its keys are sections), or a directory of section files.
    overrides : iterable of str
        ``"section.key=value"``; the value is read as YAML.

    Returns
    -------
    Config
        Frozen settings.

    Raises
    ------
    ConfigError
        If a file does not read, a key is unknown or a value out of range; the message names the path.
    """
    tree: dict[str, dict[str, Any]] = {}
    for file in files:
        for path in _section_files(Path(file)):
            _merge(tree, _read_yaml(path), str(path))
    for override in overrides:
        _merge(tree, _parse_override(override), f"--set {override}")
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_first_fault(error)) from None


def _section_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = [path / f"{section}.yaml" for section in Config.model_fields if (path / f"{section}.yaml").is_file()]
        if not files:
            raise ConfigError(f"directory {path} holds no section file; expected e.g. superpixel.yaml")
        return files
    return [path]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"configuration file {path} does not read: {_one_line(error)}; check it") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"configuration file {path} holds {type(values).__name__}, expected keys and values")
    return {path.stem: values} if path.stem in Config.model_fields else values


def _one_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"--set {text}: expected section.key=value, e.g. superpixel.spacing_um=40")
    try:
        return {section: {key: yaml.safe_load(value)}}
    except yaml.YAMLError:
        raise ConfigError(f"--set {text}: the value {value!r} does not read as YAML") from None


def _merge(tree: dict[str, dict[str, Any]], values: Mapping[Any, Any], origin: str) -> None:
    for section, keys in values.items():
        if section not in Config.model_fields:
            raise ConfigError(
                f"{origin}: unknown section {str(section)!r}{_nearest(str(section), Config.model_fields)}"
            )
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{origin}: section {section!r} holds {keys!r}, expected keys and values")
        kind = type(getattr(Config(), section))
        known = kind.model_fields
        keys = {kind.renamed_keys.get(key, key): value for key, value in keys.items()}
        for key in keys:
            if key not in known:
                raise ConfigError(f"{origin}: unknown key '{section}.{key}'{_nearest(str(key), known, f'{section}.')}")
        tree.setdefault(section, {}).update(keys)


def _nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.65)
    if close:
        return f"; did you mean '{prefix}{close[0]}'?"
    return f"; expected one of {', '.join(names)}"


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    path = ".".join(str(part) for part in fault["loc"])
    if isinstance(fault["input"], dict) and "ctx" in fault:
        # keys that do not go together
        return f"configuration section '{path}': {fault['ctx']['error']}"
    message = fault["msg"].lower()
    if fault["type"] == "string_pattern_mismatch":
        # users understand the description of a field better than its regular expression
        message = f"expected {_described(fault['loc'])}"
    return f"configuration key '{path}' is {fault['input']!r}: {message}"


def _described(location: tuple[str | int, ...]) -> str:
    section, field = (str(part) for part in location[:2])
    annotation: Any = Config.model_fields[section].annotation
    return str(annotation.model_fields[field].description)
