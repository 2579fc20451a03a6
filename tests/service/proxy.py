"""A small proxy that shows a service under a path prefix, as nginx's ``location /pre/`` and JupyterHub do."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


@contextmanager
def proxied(address: str, prefix: str = "/user/me/proxy/8008", *, strips: bool = True) -> Iterator[str]:
    """Show a service under a prefix; gives the address with the prefix. The Host header is replaced, as by default."""
    target = urlsplit(address).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                self.send_response(404)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in {"host", *_HOP_BY_HOP}
            }
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = self.path[len(prefix) :] if strips else self.path
            with closing(http.client.HTTPConnection(target, timeout=60)) as connection:
                connection.request(self.command, path, body=body or None, headers={**headers, "Host": target})
                response = connection.getresponse()
                content = response.read()
            # a browser that leaves the page takes no more
            with suppress(ConnectionError):
                self.answer(response, content)

        def answer(self, response: http.client.HTTPResponse, content: bytes) -> None:
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in {*_HOP_BY_HOP, "content-length", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = forward

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    server.shutdown()
    server.server_close()
    thread.join(10)
