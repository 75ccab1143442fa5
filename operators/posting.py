"""One alert, posted to a receiver by HTTP; what comes back is its status, and no more is read.

No redirect is followed, and no proxy that the environment names is used: an alert and its secrets go to
the host in the configuration and to no other.
"""

import contextlib
import io
import re
import socket
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, cast
from urllib.parse import SplitResult, quote, urlsplit

from operators.delivering import Answer, asked_s

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What is made here, or would change where the request ends.
OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-riverrun-alert",
        "x-riverrun-job",
    }
)


def url_problem(url: str) -> str | None:
    """Why no alert can be posted there, as the rest of a sentence; None if it can."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "holds a character that no URL may have; percent-encode it"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https"):
        return "is no URL of https or http"
    if not parts.hostname or port == 0:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "holds a user or password; headers.Authorization is the place for it"
    return None


def header_problem(name: str, value: str) -> str | None:
    """Why this header cannot be sent, without its value; None if it can.

    >>> header_problem("Authorization", "Bearer x"), header_problem("Host", "x")
    (None, 'cannot be set')
    """
    if name.lower() in OWN_HEADERS:
        return "cannot be set"
    if not _TOKEN.fullmatch(name):
        return "is no name of a header"
    if not value.isascii() or not value.isprintable():
        return "holds a character that no header may have"
    return None


def header_text(id: str) -> str:
    """An alert's id as a header has it: what is not plain ASCII is percent-encoded, and `%` too.

    >>> header_text("quality/lr/champion/7"), header_text("failing/lr/Zürich/7")
    ('quality/lr/champion/7', 'failing/lr/Z%C3%BCrich/7')
    """
    return quote(id, safe="/:;,=@!*+()[]{}<>|&$#?'~^` ").strip(" ") or "%20"


class Receiver:
    """Where alerts are posted.

    Parameters
    ----------
    headers : mapping
        Beside those that every alert has.
    job : str
        The job's name, which each alert is sent with.
    timeout_s : float
        Seconds for one alert: to connect, and, once connected, until the answer's status is there.

    Raises
    ------
    ValueError
        The URL or a header cannot be used; says why and shows no value.
    """

    def __init__(self, url: str, headers: Mapping[str, str], job: str, timeout_s: float) -> None:
        problem = url_problem(url)
        if problem is not None:
            raise ValueError(f"url {problem}")
        for name, value in headers.items():
            problem = header_problem(name, value)
            if problem is not None:
                raise ValueError(f"headers.{name} {problem}")
        self._parts: SplitResult = urlsplit(url)
        self._headers = {
            "User-Agent": "riverrun",
            **headers,
            "Content-Type": "application/json",
            "Connection": "close",
            "X-Riverrun-Job": job,
        }
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context() if self._parts.scheme == "https" else None
        self._connection: HTTPConnection | None = None

    def post(self, id: str, text: str) -> Answer:
        """Post one alert; whatever goes wrong on the way is an answer, too."""
        connection = self._connection = self._connected()
        shown = header_text(id)
        headers = {**self._headers, "Idempotency-Key": shown, "X-Riverrun-Alert": shown}
        try:
            connection.connect()
            until = time.monotonic() + self._timeout_s
            connection.request("POST", self._target(), text.encode(), headers)
            read = cast(socket.socket, _ReadUntil(connection.sock, until))
            with HTTPResponse(read, method="POST") as response:
                response.begin()
                asked = asked_s(response.getheader("Retry-After"), time.time())
                return Answer(response.status, asked_s=asked)
        except (OSError, HTTPException) as error:
            return Answer(None, _said(error))
        finally:
            self._connection = None
            connection.close()

    def abort(self) -> None:
        """End a post that another thread is waiting in, as far as it has come to have a connection."""
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._tls is None:
            return HTTPConnection(host, port, timeout=self._timeout_s)
        return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)

    def _target(self) -> str:
        query = f"?{self._parts.query}" if self._parts.query else ""
        return (self._parts.path or "/") + query


class _ReadUntil(io.RawIOBase):
    """What a socket receives, up to a point in time.

    A socket's own timeout begins anew with every byte, so who sends a byte now and then is never done.
    """

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        """As `HTTPResponse` asks a socket for it."""
        return io.BufferedReader(self)


def _said(error: Exception) -> str:
    """An error in words that cannot hold anything of URL or headers: `InvalidURL` quotes one."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    kind = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{kind}: {error.strerror}"
    return kind
