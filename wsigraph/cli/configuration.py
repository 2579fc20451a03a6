"""``wsigraph config show|write|check``: show settings, write their defaults, or check files of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import ConfigFiles, Overrides

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show, write or check settings.")


@app.command("show")
@ends_plainly
def show(
    sections: Annotated[
        list[str] | None, typer.Argument(metavar="[SECTION]", help="Sections to show; by default all.")
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Print the settings that a command with these files and --set options would use, as YAML."""
    from wsigraph import config as settings
    from wsigraph.errors import ConfigError

    loaded = settings.load([Path(file) for file in config or ()], overrides or ())
    known = tuple(type(loaded).model_fields)
    for section in sections or known:
        if section not in known:
            raise ConfigError(f"unknown section {section!r}; expected one of {', '.join(known)}")
        lines = settings.render(section, getattr(loaded, section)).rstrip().splitlines()
        print(f"{section}:")
        print("\n".join(f"  {line}".rstrip() for line in lines))
        print()


@app.command("write")
@ends_plainly
def write(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Directory for one YAML file per section.")],
    debug: Debug = False,
) -> None:
    """Write the defaults, comments included, as one YAML file per section."""
    from wsigraph import config as settings

    for path in settings.write(Path(directory)):
        print(path)


@app.command("check")
@ends_plainly
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Section files, overlays or directories.")],
    debug: Debug = False,
) -> None:
    """Check files of settings: unknown keys, values out of range."""
    from wsigraph import config as settings

    settings.load([Path(file) for file in files])
    print("the settings are valid: no unknown key, no value out of range")
