"""`checks.http("https://api.example.com/charges/{idempotency_key}")`: asks the service that the handler's request went to.

The handler sends its request with `check.headers(context)`, the same key in every attempt; the check asks the status URL: 200 is done, 404
is not done, everything else is unknown, and so is silence. A service that honours the key carries out one of two requests, however late
the second comes: fencing. Of one that only shows what it got, say `is_fencing=False` and, with `settle_s`, how long it takes to show.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from executor.checks.answer import Said, read_answer, require_settle, require_timeout
from executor.checks.deadline import Deadline
from executor.checks.identity import public_identity, require_scope
from executor.checks.trouble import scrubbed, unknown
from executor.context import Context
from executor.errors import HandlerError
from executor.task import Answer, CheckResult

HEADER = "Idempotency-Key"
TIMEOUT_S = 10.0
BODY_BYTES_MAX = 1_000_000  # a status is small; more is not what was asked for
_PLACE = "{idempotency_key}"


class HttpCheck:
    """`done`, `not_done`: statuses. `read(status, body)` decides instead, if given, for services whose status is in the body.

    `headers`: what the service wants to see from who asks, credentials too; a function is asked each time, and nothing of it is ever shown.
    """

    def __init__(
        self,
        status_url: str,
        *,
        done: Collection[int] = (200,),
        not_done: Collection[int] = (404,),
        read: Callable[[int, bytes], Said] | None = None,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        header: str = HEADER,
        is_fencing: bool = True,
        settle_s: float = 0.0,
        timeout_s: float = TIMEOUT_S,
        scope: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(status_url)
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.scheme not in ("http", "https") or not parts.hostname or _PLACE not in status_url:
            raise HandlerError(f"checks.http({self._shown!r}): give an http or https URL with {_PLACE} in it")
        if "@" in parts.netloc:
            raise HandlerError(f"checks.http({self._shown!r}): no user and password in the URL; use headers=")
        if set(done) & set(not_done):
            raise HandlerError(f"{self!r}: a status is both done and not done")
        require_settle(repr(self), is_fencing=is_fencing, settle_s=settle_s)
        require_timeout(repr(self), timeout_s)
        self.is_fencing = is_fencing
        self.settle_s = settle_s
        self._url = status_url
        self._done = frozenset(done)
        self._not_done = frozenset(not_done)
        self._read = read
        self._headers = headers
        self._header = header
        self._timeout_s = timeout_s
        self._scope = require_scope(scope)
        self._tls = tls

    def __repr__(self) -> str:
        return f"checks.http({self._shown!r})"

    def idempotency_key(self, context: Context) -> str:
        """The same for every attempt of the task."""
        return public_identity(context, self._scope)

    def headers(self, context: Context) -> dict[str, str]:
        """For the handler's own request: `requests.post(url, json=.., headers=check.headers(context), timeout=10)`."""
        return {self._header: self.idempotency_key(context)}

    def __call__(self, context: Context, /, *args: object, **kwargs: object) -> CheckResult:
        """Never longer than `timeout_s` after the name of the server was found. Redirects are not followed: they are unknown."""
        given = self._headers() if callable(self._headers) else self._headers or {}
        secrets = [*given.values(), *(word for value in given.values() for word in value.split()[1:])]
        url = self._url.replace(_PLACE, self.idempotency_key(context))
        request = urllib.request.Request(url, headers=dict(given))
        with Deadline(self._timeout_s) as deadline:
            try:
                with self._opener(deadline).open(request, timeout=self._timeout_s) as response:
                    status = int(response.status)
                    body = _body(response) if self._read is not None else b""
            except (OSError, http.client.HTTPException, ValueError) as error:
                if deadline.is_over or isinstance(error, TimeoutError):
                    return self._late()
                return unknown(f"{self._shown} did not answer", error, secrets)
            if deadline.is_over:  # what was read may have been cut
                return self._late()
        return self._judge(status, body)

    def _judge(self, status: int, body: bytes) -> CheckResult:
        if self._read is not None:
            if len(body) > BODY_BYTES_MAX:
                return CheckResult(Answer.UNKNOWN, f"{self._shown} answered more than {BODY_BYTES_MAX} bytes")
            try:
                answer, why = read_answer(self._read(status, body))
            except Exception as error:  # a function of the user's
                return unknown(f"read() failed on status {status} of {self._shown}", error)
            return CheckResult(answer, scrubbed(why or f"{self._shown} answered {status}"))
        answer = Answer.UNKNOWN
        if status in self._done:
            answer = Answer.DONE
        elif status in self._not_done:
            answer = Answer.NOT_DONE
        return CheckResult(answer, f"{self._shown} answered {status}")

    def _late(self) -> CheckResult:
        return CheckResult(Answer.UNKNOWN, f"{self._shown} did not answer within {self._timeout_s:g} s")

    def _opener(self, deadline: Deadline) -> urllib.request.OpenerDirector:
        """Knows proxies, http and https; neither redirects (they would carry credentials elsewhere) nor files, nor errors by status."""
        opener = urllib.request.OpenerDirector()
        for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler()):
            opener.add_handler(handler)
        opener.add_handler(_Web(deadline, self._tls))
        return opener


def _body(response: http.client.HTTPResponse) -> bytes:
    """Whole, or longer than it may be; raises IncompleteRead for one that was cut, which a read of a limited length does not."""
    body = response.read(BODY_BYTES_MAX + 1)
    if response.length and len(body) <= BODY_BYTES_MAX:
        raise http.client.IncompleteRead(body, response.length)
    return body


class _Web(urllib.request.HTTPHandler):
    """http and https over connections that the deadline can cut."""

    def __init__(self, deadline: Deadline, tls: ssl.SSLContext | None) -> None:
        super().__init__()
        self._deadline = deadline
        self._tls = tls

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._plain, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self._secure, request)

    https_request = urllib.request.HTTPHandler.http_request

    def _plain(self, host: str, **options: Any) -> http.client.HTTPConnection:
        return _watched(http.client.HTTPConnection(host, **options), self._deadline)

    def _secure(self, host: str, **options: Any) -> http.client.HTTPConnection:
        tls = self._tls or ssl.create_default_context()
        return _watched(http.client.HTTPSConnection(host, context=tls, **options), self._deadline)


def _watched(connection: http.client.HTTPConnection, deadline: Deadline) -> http.client.HTTPConnection:
    connect = connection.connect

    def connect_watched() -> None:
        connect()
        deadline.watch(connection.sock)

    connection.connect = connect_watched  # type: ignore[method-assign]
    return connection
