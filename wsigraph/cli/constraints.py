"""``wsigraph constraints``: the versions that this release was tested with."""

from __future__ import annotations

from pathlib import Path

from wsigraph.cli.failure import Debug, ends_plainly

_PLACES = (Path(__file__).parents[1] / "constraints.txt", Path(__file__).parents[2] / "constraints.txt")


@ends_plainly
def constraints(debug: Debug = False) -> None:
    """Print the versions of all packages that this release was tested with.

    Write them to a file for pip: wsigraph constraints > constraints.txt, then pip install -c constraints.txt
    'wsigraph[service]'.
    """
    from wsigraph.errors import StoreError

    path = next((place for place in _PLACES if place.is_file()), None)
    if path is None:
        raise StoreError("constraints.txt is not in this installation; install wsigraph again from a wheel")
    print(path.read_text(encoding="utf-8"), end="")
