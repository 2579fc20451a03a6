"""``wsigraph serve``: serve slides, graphs, predictions and explanations over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import ConfigFiles, Overrides, read_settings

if TYPE_CHECKING:
    from wsigraph.service.security.auth import Tokens

_Data = Annotated[str | None, typer.Option("--data", metavar="DIR", help="Directory of slides.", show_default=False)]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; by default the demonstration model.")
]
_Host = Annotated[
    str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; all but loopback need a token.")
]
_Port = Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="Port; 0 chooses a free one.")]
_Workers = Annotated[
    int | None, typer.Option("--workers", min=0, metavar="N", help="Workers with one thread each; 0 is one per core.")
]
_Cluster = Annotated[
    str | None, typer.Option("--cluster", metavar="KIND", help="local, threads, slurm or a scheduler's address.")
]
_TokenFile = Annotated[
    str | None, typer.Option("--token-file", metavar="FILE", help="Accepted tokens, one NAME:ROLE:SHA256 per line.")
]
_Token = Annotated[
    str | None,
    typer.Option("--token", metavar="TEXT", help="Token of one administrator; other users of the machine can see it."),
]
_NewToken = Annotated[
    str | None,
    typer.Option(
        "--new-token", metavar="NAME:ROLE", help="Create a token (read, run or admin), print it once, and exit."
    ),
]
_Associated = Annotated[
    bool,
    typer.Option("--associated-images", help="Serve label and macro images, which may show the name of the patient."),
]
_RootPath = Annotated[
    str, typer.Option("--root-path", metavar="PATH", help="Path prefix under which a proxy shows the service.")
]
_Results = Annotated[
    list[str] | None,
    typer.Option(
        "--results",
        metavar="RUN",
        help="Also serve the results of a run on slides of DIR; may be repeated.",
        show_default=False,
    ),
]
_AllowedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        metavar="NAME",
        help="Host name under which a proxy shows a service without tokens; may be repeated.",
        show_default=False,
    ),
]


@ends_plainly
def serve(
    data: _Data = None,
    model: _Model = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8008,
    workers: _Workers = None,
    cluster: _Cluster = None,
    token_file: _TokenFile = None,
    token: _Token = None,
    new_token: _NewToken = None,
    associated_images: _Associated = False,
    results: _Results = None,
    root_path: _RootPath = "",
    allowed_host: _AllowedHosts = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Serve the slides of a directory: Deep Zoom tiles, uploads, predictions and explanations as jobs, and the viewer.

    The service stores its state in DIR/.wsigraph. On other addresses than loopback, every request needs a token.
    """
    _check_installed()
    from wsigraph.run.cluster_security import check_cluster
    from wsigraph.service.security import auth
    from wsigraph.service.server import check_exposure, run_server

    if new_token is not None:
        if token_file is None:
            raise typer.BadParameter("--new-token needs --token-file")
        print(auth.new_token(Path(token_file), new_token), flush=True)
        say(f"the token of {new_token} is printed only once; {token_file} contains only its digest")
        return
    if data is None:
        raise typer.BadParameter("give the directory of slides with --data")
    tokens = _tokens(token_file, token)
    settings = read_settings(config, overrides, {"cluster.workers": workers, "cluster.kind": cluster})
    check_exposure(host, tokens, has_provider=settings.service.oidc_issuer is not None)
    check_cluster(settings.cluster)
    run_server(
        Path(data),
        settings,
        model=None if model is None else Path(model),
        host=host,
        port=port,
        tokens=tokens,
        serves_associated=associated_images,
        report=say,
        root_path=root_path,
        results=[Path(directory) for directory in results or ()],
        hosts=[name.lower() for name in allowed_host or ()],
    )


def _tokens(token_file: str | None, token: str | None) -> Tokens:
    from wsigraph.service.security.auth import ADMIN, Principal, Tokens, read_tokens

    tokens = Tokens() if token_file is None else read_tokens(Path(token_file))
    if token is not None:
        tokens.add(Principal(name="token", role=ADMIN), token)
    return tokens


def _check_installed() -> None:
    from importlib.util import find_spec

    from wsigraph.errors import PluginError

    missing = [
        name for name in ("alembic", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn") if find_spec(name) is None
    ]
    if missing:
        raise PluginError(
            f"wsigraph serve needs {', '.join(missing)}, not installed; install with: pip install 'wsigraph[service]'"
        )
