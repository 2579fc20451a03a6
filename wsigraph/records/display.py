"""Short text and HTML forms of records.

The form that `dataclasses` writes prints every array: 424 lines for a coarse graph. A record lists a few facts in its
place. Jupyter shows them as a table.
"""

from __future__ import annotations

from html import escape

_WIDTH = 60


class RecordDisplay:
    """Base of records: ``repr`` on one line, and a table in notebooks, both from `facts`."""

    __slots__ = ()

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {_shorten(value)}" for name, value in self.facts().items())
        return f"{type(self).__name__}({values})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self.facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def _shorten(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
