"""The licences of everything that an installation holds: ``python -m docs.licences`` writes ``docs/about/licences.md``.

The packages are those of ``constraints.txt``; their licences are what their own metadata says, in the environment that
runs this. A licence that is no permissive one is listed first with what it means for users.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "about" / "licences.md"
_COPYLEFT = re.compile(r"GPL|MPL|EUPL|CDDL", re.I)
_HEAD = """# Licences

wsigraph has the MIT licence. Its shipped weights were trained on data with permissive licences. The sample slide is in
the public domain (CC0-1.0). The viewer uses OpenSeadragon (BSD-3-Clause).

`python -m docs.licences` writes this page from the metadata of the packages in `constraints.txt`.

## Not permissive

These packages have a weak copyleft licence. wsigraph uses them unchanged, as separate packages, and copies nothing of
them. You may use them in closed programs; if you change one of them and pass it on, publish that change. No package
has the GPL alone: docutils, which lists it, has parts in the public domain and under BSD, and the parts under the GPL
are tools.

- OpenSlide, inside `openslide-bin` and used through `openslide-python`, has the LGPL-2.1. Its own libraries are listed
  in its package.
- `psycopg` has the LGPL-3.0. Only the extra `postgres` installs it.
- `hadolint` has the GPL-3. It is a tool for checks, it is in no extra, and nothing links to it.

"""


def licence_of(name: str) -> str | None:
    """Return the licence that a package states, or None where it is not installed."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        return None
    stated = metadata.get("License-Expression")
    if stated is None:
        classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if "License ::" in line]
        text = (metadata.get("License") or "").strip()
        stated = ", ".join(classifiers) or (text if text and "\n" not in text and len(text) < 60 else "see its package")
    return stated.replace("|", "\\|")


def page() -> str:
    """Return the page."""
    names = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    found = {name: licence_of(name) for name in names}
    weak = [f"- `{name}`: {licence}" for name, licence in found.items() if licence and _COPYLEFT.search(licence)]
    rows = [f"| `{name}` | {licence or 'not installed where this was written'} |" for name, licence in found.items()]
    return (
        f"{_HEAD}By their metadata:\n\n" + "\n".join(weak) + "\n\n## All packages\n\n| package | licence |\n|---|---|\n"
    ) + "\n".join(rows) + "\n"  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
