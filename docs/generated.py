"""Pages that are written from the code: commands, settings, internal modules, and files of the repository's root."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "at least", "max_length": "at most"}
_UNITS = {"_um": "um", "_um2": "um²", "_px": "px", "mpp": "um/px", "_days": "days", "_s": "s", "_bytes": "bytes"}
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")
ROOT_PAGES = {
    "CHANGELOG.md": "about/changelog.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "ARCHITECTURE.md": "about/architecture.md",
    "data_manifest.md": "reference/manifest.md",
    "README.md": "index.md",
}
"""Files of the repository's root that are pages of the site."""
_ELSEWHERE = {
    "notebooks": "notebooks/index.md",
    "configs": "reference/settings.md",
    "CITATION.cff": "about/releases.md",
}
"""Where a link of the README to something that is no page leads on the site."""


def settings_table(section: str) -> str:
    """Return a Markdown table of a section's settings: name, default, unit, bounds, meaning."""
    from wsigraph.config import Config

    rows = ["| setting | default | unit | bounds | meaning |", "|---|---|---|---|---|"]
    for name, field in type(getattr(Config(), section)).model_fields.items():
        limits = [
            (sign, getattr(part, key)) for part in field.metadata for key, sign in _BOUNDS.items() if hasattr(part, key)
        ]
        bounds = ", ".join(f"{sign} {value:g}" for sign, value in limits if value is not None) or _choices(
            field.annotation
        )
        unit = next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")
        meaning = (field.description or "").replace("|", "\\|")
        default = "none" if field.default is None else str(field.default).replace("|", "\\|")
        rows.append(f"| `{section}.{name}` | {default} | {unit} | {bounds} | {meaning} |")
    return "\n".join(rows)


def _choices(annotation: Any) -> str:
    choices = re.findall(r"Literal\[(.*?)\]", str(annotation))
    return choices[0].replace("'", "") if choices else ""


def generated_pages(root: Path) -> dict[str, str]:
    """Return the pages by their path under ``docs``."""
    pages = {"reference/commands.md": commands_page(), "reference/settings.md": settings_page()}
    if (root / "wsigraph").is_dir():
        pages["reference/internals.md"] = internals_page(root)
    else:
        pages["reference/internals.md"] = "# Internal modules\n"
    for source, page in ROOT_PAGES.items():
        if page != "index.md":
            text = (root / source).read_text(encoding="utf-8") if (root / source).is_file() else f"# {source}\n"
            pages[page] = site_links(text, page.count("/"))
    return pages


def readme_part(root: Path, head: str | None, depth: int) -> str:
    """Return the README, or what follows one of its headings, with links that hold on the site.

    Parameters
    ----------
    root : Path
        The repository.
    head : str or None
        A heading of level two; None returns the whole text.
    depth : int
        Number of folders between ``docs`` and the page.
    """
    path = root / "README.md"
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8")
    if head is not None:
        start = text.index(f"\n## {head}\n") + len(f"\n## {head}\n")
        end = text.find("\n## ", start)
        text = text[start : None if end < 0 else end]
    return site_links(text, depth)


def site_links(text: str, depth: int) -> str:
    """Rewrite links of a file in the repository's root so that they lead to pages of the site."""
    up = "../" * depth

    def rewrite(link: re.Match[str]) -> str:
        target = link[2]
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        target = target.removesuffix("/")
        if target.startswith("docs/"):
            return f"{link[1]}{up}{target.removeprefix('docs/')}{link[3]}"
        if target.startswith("notebooks/"):
            return f"{link[1]}{up}{target.removesuffix('.ipynb')}.md{link[3]}"
        page = ROOT_PAGES.get(target) or _ELSEWHERE.get(target)
        return f"{link[1]}{up}{page or 'about/releases.md'}{link[3]}"

    return _LINK.sub(rewrite, text)


def commands_page() -> str:
    """Return the help of every command, as the command prints it."""
    from typer.main import get_command

    from wsigraph.cli.main import app

    parts = [
        "# Commands",
        "This page is written from the commands' own help. Options before the command, such as `--quiet` and "
        "`--log-file`, hold for every command. [Errors and exit codes](../errors.md) are the same everywhere.",
        "## wsigraph",
        _help_of(get_command(app), "wsigraph"),
    ]
    for name, command in _leaves(get_command(app), "wsigraph"):
        parts += [f"## {name}", _help_of(command, name)]
    return "\n\n".join(parts) + "\n"


def _leaves(command: Any, name: str) -> list[tuple[str, Any]]:
    found = []
    for word, child in command.commands.items():
        child_name = f"{name} {word}"
        found += _leaves(child, child_name) if hasattr(child, "commands") else [(child_name, child)]
    return found


def _help_of(command: Any, name: str) -> str:
    context = command.context_class(command, info_name=name, max_content_width=80, terminal_width=80)
    return f"```text\n{command.get_help(context).rstrip()}\n```"


def settings_page() -> str:
    """Return one table for every section of the settings."""
    from wsigraph.config import Config

    parts = [
        "# Settings",
        "Defaults come first, then the files given with `--config`, then `--set KEY=VALUE`. Unknown keys are errors. "
        "`wsigraph config show` prints all settings, `wsigraph config write DIR` writes them as YAML files, and "
        "`wsigraph config check FILE` checks one.",
    ]
    for section in Config.model_fields:
        parts += [f"## {section}", settings_table(section)]
    return "\n\n".join(parts) + "\n"


def internals_page(root: Path) -> str:
    """Return a table of the modules behind the public names, with the first sentence of each."""
    from docs.reference import listed_modules

    parts = [
        "# Internal modules",
        "This is a map for those who change wsigraph. Import from these modules at your own risk: they may change in "
        "any version ([what is stable](../about/releases.md)). The [public names](api.md) are documented apart.",
    ]
    package = ""
    for module in listed_modules():
        names = module.split(".")
        head = "wsigraph" if len(names) == 2 else names[1]
        if head != package:
            package = head
            parts += [f"\n## {package}\n", "| module | what it does |\n|---|---|"]
        path = root.joinpath(*names)
        source = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        summary = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
        cell = " ".join(summary.split()).replace("|", "\\|").replace("``", "`")
        parts[-1] += f"\n| `{module.removeprefix('wsigraph.')}` | {cell} |"
    return "\n\n".join(parts) + "\n"
