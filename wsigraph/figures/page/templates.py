"""Renders the package's HTML pages from jinja2 templates, with autoescape.

All pages extend ``page.html``: one stylesheet, inside the page, and a content security policy that lets a browser fetch
nothing. Text is escaped by the templates; only `markupsafe.Markup`, which the charts return, is inserted as it is.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render_page(template: str, *, script: str | None = None, **values: Any) -> str:
    """Return an HTML page.

    Parameters
    ----------
    template : str
        File name in ``wsigraph/figures/page/templates``.
    script : str, optional
        File name of a script there. The page contains it, and its policy allows it by digest.
    **values : any
        Variables of the template.

    Returns
    -------
    str
        The page. Equal input gives equal text.

    Raises
    ------
    jinja2.TemplateError
        If the template does not exist or uses a variable that is not given.
    """
    text, policy = "", _POLICY
    if script is not None:
        text = files("wsigraph.figures.page").joinpath("templates", script).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        policy = f"{_POLICY}; script-src 'sha256-{digest}'"
    # the script is a file of the package, never input
    return _environment().get_template(template).render(policy=policy, script=Markup(text), **values)  # noqa: S704


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("wsigraph.figures.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = format
    environment.filters["capital"] = lambda text: text[:1].upper() + text[1:]
    return environment
