"""What is asked of a slide; light, so that it can be made before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question for `wsigraph.explanation.explain.explain`.

    Attributes
    ----------
    target : str
        ``stage``, ``risk`` or ``survival@DAYS``.
    thorough : bool
        Whether to try every baseline.
    site : str or None
        The slide's site.
    """

    target: str = "risk"
    thorough: bool = False
    site: str | None = None
