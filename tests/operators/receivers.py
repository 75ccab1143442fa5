"""A receiver of webhooks: a real HTTP server that keeps what it got and answers as it is told."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple


class Got(NamedTuple):
    """A request: its path, headers in lower case, and body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """`status` None: no answer at all, until the receiver ends."""

    status: int | None = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Receiver:
    """Answers on `port` of this machine; `reply` is asked about each request and may be replaced."""

    def __init__(self, port: int = 0, certificate: Path | None = None) -> None:
        self.got: list[Got] = []
        self.reply: Callable[[Got], Reply] = lambda got: Reply()
        self.ended = threading.Event()
        # Sends the beginning of an answer, byte by byte and without an end.
        self.drips = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                got = Got(self.path, headers, body)
                receiver.got.append(got)
                if receiver.drips:
                    self._drip()
                    return
                reply = receiver.reply(got)
                if reply.status is None:
                    receiver.ended.wait()
                    return
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST

            def _drip(self) -> None:
                with contextlib.suppress(OSError):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not receiver.ended.wait(0.02):
                        self.wfile.write(b"x")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}/alerts"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def ids(self) -> list[str]:
        """Of the alerts that came, in their order, again where they came again."""
        return [got.headers["idempotency-key"] for got in list(self.got)]

    def end(self) -> None:
        """Answer no more, and leave the port."""
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiving(**settings: Any) -> Iterator[Receiver]:
    """A receiver for as long as the block takes."""
    receiver = Receiver(**settings)
    try:
        yield receiver
    finally:
        receiver.end()
