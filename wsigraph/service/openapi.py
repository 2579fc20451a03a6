"""What the OpenAPI document says beyond the routes: how to sign in, where it is needed, and what problems look like."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from wsigraph.service.security.problems import MEDIA_TYPE
from wsigraph.service.security.sessions import COOKIE, SECURE_COOKIE

PUBLIC = frozenset({"read_health", "read_readiness", "sign_in", "sign_out"}) | {
    "list_sign_in_methods",
    "begin_oidc",
    "finish_oidc",
}
"""Operations that need no token."""
_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token from 'wsigraph serve --token-file FILE --new-token NAME:ROLE'. Services on loopback "
        "may run without tokens.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"The cookie of a browser that signed in with POST /v1/session; {SECURE_COOKIE} under TLS.",
    },
}


def complete_document(app: FastAPI, root_path: str = "") -> None:
    """Add security schemes and the media type of problems to the OpenAPI document of an application.

    Parameters
    ----------
    app : FastAPI
        The application, with all its routes.
    root_path : str, optional
        Path prefix under which a proxy shows the service.
    """
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            document["security"] = [{"token": []}, {"session": []}]
            if root_path:
                document["servers"] = [{"url": root_path}]
            for operations in document["paths"].values():
                for operation in operations.values():
                    if operation["operationId"] in PUBLIC:
                        operation["security"] = []
                    for response in operation["responses"].values():
                        content = response.get("content", {})
                        if MEDIA_TYPE in content:
                            # FastAPI lists the model as application/json, which no problem is sent as
                            response["content"] = {MEDIA_TYPE: content["application/json"]}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
