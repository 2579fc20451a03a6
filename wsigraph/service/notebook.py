"""A slide in a notebook cell: the viewer of the service, started in the background for one slide.

The service listens on loopback, and only answers under a path that is a new random key, because browsers may not send
cookies to a frame. Behind JupyterHub the frame goes through jupyter-server-proxy.
"""

from __future__ import annotations

import html
import os
import secrets
import shutil
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import PluginError, ServiceError, UnreadableSlide
from wsigraph.records import SlideInfo

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide

_START_S = 60.0
_HUB_PREFIX = "JUPYTERHUB_SERVICE_PREFIX"
_MISSING = "wsigraph.view needs {}, which is not installed; install it with: pip install 'wsigraph[service]'"


class SlideView:
    """The viewer of one slide. A notebook shows it as the value of a cell.

    Attributes
    ----------
    url : str
        Address of the viewer. Everyone who knows it can see the slide while the kernel runs.
    """

    def __init__(self, url: str, height_px: int, stop: Any) -> None:
        self.url = url
        self._height_px = height_px
        self._stop = stop

    def close(self) -> None:
        """Stop the service of this view."""
        self._stop()

    def _repr_html_(self) -> str:
        address = html.escape(self.url, quote=True)
        return (
            f'<iframe src="{address}" width="100%" height="{self._height_px}" style="border:0" '
            'title="wsigraph viewer" allow="fullscreen"></iframe>'
        )

    def __repr__(self) -> str:
        return f"SlideView({self.url!r})"


def view(
    slide: Slide | SlideInfo | Path | str,
    *,
    results: Path | str | None = None,
    config: Config | None = None,
    height_px: int = 640,
    proxy_prefix: str | None = None,
) -> SlideView:
    """Show a slide in a notebook cell.

    Parameters
    ----------
    slide : Slide, SlideInfo, Path or str
        The slide.
    results : Path or str, optional
        Directory of a run (``wsigraph run`` or ``predict``) that holds the results of the slide, to show them too.
    config : Config, optional
        Settings; those of the section ``service`` count.
    height_px : int, optional
        Height of the cell, px.
    proxy_prefix : str, optional
        Path of the notebook server, if the browser reaches it through jupyter-server-proxy, for example ``/user/me/``.
        On JupyterHub it is found by itself.

    Returns
    -------
    SlideView
        Let it be the value of a cell. Its service runs until `close` or until the kernel stops.

    Raises
    ------
    PluginError
        If the extra ``service`` is not installed.
    ServiceError
        If the service does not start, or `results` holds no results.
    UnreadableSlide
        If there is no such slide.
    """
    try:
        import uvicorn

        from wsigraph.service.app import create_app
        from wsigraph.service.context import open_context
        from wsigraph.service.run_import import import_run
    except ModuleNotFoundError as error:
        raise PluginError(_MISSING.format(error.name)) from None
    path = _path_of(slide)
    state = Path(tempfile.mkdtemp(prefix="wsigraph-view-"))
    context = open_context(path.parent, config or Config(), runs_jobs=False, state=state, only=path)
    (entry,) = context.catalogue.slides()
    if results is not None:
        import_run(context, Path(results))
    key = secrets.token_urlsafe(24)
    app = create_app(context, root_path=f"/{key}", root_is_key=True)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + _START_S
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    if not server.started:
        raise ServiceError("the viewer did not start; start it with 'wsigraph serve' to see why")
    port = server.servers[0].sockets[0].getsockname()[1]

    def stop() -> None:
        server.should_exit = True
        thread.join(10)
        shutil.rmtree(state, ignore_errors=True)

    return SlideView(
        f"{_base(port, proxy_prefix)}{key}/#slide={entry.slide_id}", height_px, weakref.finalize(app, stop)
    )


def _path_of(slide: Slide | SlideInfo | Path | str) -> Path:
    if not isinstance(slide, str | Path):
        info = slide if isinstance(slide, SlideInfo) else slide.info
        slide = info.path
    path = Path(slide).absolute()
    if not path.exists():
        raise UnreadableSlide(f"slide '{path}' does not exist; give the path of a slide")
    return path


def _base(port: int, proxy_prefix: str | None) -> str:
    prefix = os.environ.get(_HUB_PREFIX, "") if proxy_prefix is None else proxy_prefix
    if not prefix:
        return f"http://127.0.0.1:{port}/"
    return f"/{prefix.strip('/')}/proxy/{port}/" if prefix.strip("/") else f"/proxy/{port}/"
