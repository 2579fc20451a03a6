"""The request for an explanation; imports nothing heavy, so that it can be made first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationRequest:
    """What to explain of a slide; see `wsigraph.explanation.explain.explain`.

    Attributes
    ----------
    target : str
        The output: ``stage``, ``risk`` or ``survival@DAYS``.
    thorough : bool
        Whether to compute attributions for every reference input and compare them.
    site : str or None
        The slide's site.
    """

    target: str = "risk"
    thorough: bool = False
    site: str | None = None
