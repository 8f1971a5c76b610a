"""`checks.email("imap.example.com", ...)`: was the mail with this Message-ID delivered to a mailbox of ours?

The handler gives its mail an id that follows from the key (`stamp`), and sends a copy (Bcc) to a mailbox that nobody tidies up, or goes
through a provider that files what it sent. The check looks the id up by IMAP. Observing: a mail that was accepted may still be on its
way, so nobody asks before `settle_s` have passed. Not for services that give mails an id of their own.
"""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from enum import Enum

from executor.checks.answer import require_settle, require_timeout
from executor.checks.deadline import Deadline
from executor.checks.identity import public_identity, require_scope
from executor.checks.trouble import unknown
from executor.context import Context
from executor.errors import HandlerError
from executor.task import Answer, CheckResult

SETTLE_S = 120.0  # from accepted to visible; a server that is busy or greylists a copy takes minutes
TIMEOUT_S = 20.0
HITS_MAX = 20  # mails with one id that are looked at; more than a few attempts cannot have left
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class Security(Enum):
    """How the connection to the IMAP server is protected. PLAIN is for a server on this machine.

    No STARTTLS: RFC 8314 advises against it, as it can be stripped, and servers have had the TLS port for long.
    """

    TLS = "tls"
    PLAIN = "plain"


PORTS = {Security.TLS: 993, Security.PLAIN: 143}


class EmailCheck:
    """`domain`: of the message ids, one of your own. `password`: the word itself or a function that gives it; never shown."""

    is_fencing = False

    def __init__(
        self,
        host: str,
        *,
        user: str,
        password: str | Callable[[], str],
        domain: str,
        mailbox: str = "INBOX",
        port: int | None = None,
        security: str = "tls",
        settle_s: float = SETTLE_S,
        timeout_s: float = TIMEOUT_S,
        scope: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = host
        self._mailbox = mailbox
        try:
            self._security = Security(security)
        except ValueError:
            ways = ", ".join(each.value for each in Security)
            raise HandlerError(f"{self!r}: unknown security {security!r}; use one of {ways}") from None
        if not _DOMAIN.match(domain):
            raise HandlerError(f"{self!r}: {domain!r} is no domain; give one of your own")
        if not mailbox.isascii() or not mailbox.isprintable():
            raise HandlerError(f"{self!r}: write the mailbox as IMAP does (modified UTF-7): ASCII only")
        require_settle(repr(self), is_fencing=False, settle_s=settle_s)
        require_timeout(repr(self), timeout_s)
        self.settle_s = settle_s
        self._user = user
        self._password = password
        self._domain = domain
        self._port = PORTS[self._security] if port is None else port
        self._timeout_s = timeout_s
        self._scope = require_scope(scope)
        self._tls = tls

    def __repr__(self) -> str:
        return f"checks.email({self._host!r}, mailbox={self._mailbox!r})"

    def message_id(self, context: Context) -> str:
        """ "<quorate-42@example.com>", the same for every attempt."""
        return f"<{public_identity(context, self._scope)}@{self._domain}>"

    def stamp(self, message: EmailMessage, context: Context) -> EmailMessage:
        """Gives the mail its id, in place of one that it has; the mail itself comes back."""
        del message["Message-ID"]
        message["Message-ID"] = self.message_id(context)
        return message

    def __call__(self, context: Context, /, *args: object, **kwargs: object) -> CheckResult:
        """DONE if the mailbox has the mail. Any trouble with the server is UNKNOWN."""
        password = self._password() if callable(self._password) else self._password
        wanted = self.message_id(context)
        where = f"mailbox {self._mailbox!r} at {self._host}"
        with Deadline(self._timeout_s) as deadline:
            try:
                is_there = self._look(wanted, password, deadline)
            except (OSError, imaplib.IMAP4.error, ValueError) as error:
                if deadline.is_over or isinstance(error, TimeoutError):
                    return CheckResult(Answer.UNKNOWN, f"{where} did not answer within {self._timeout_s:g} s")
                return unknown(f"{where} could not be asked", error, [password])
            if deadline.is_over:
                return CheckResult(Answer.UNKNOWN, f"{where} did not answer within {self._timeout_s:g} s")
        if is_there:
            return CheckResult(Answer.DONE, f"{wanted} is in {where}")
        return CheckResult(Answer.NOT_DONE, f"{wanted} is not in {where}")

    def _look(self, wanted: str, password: str, deadline: Deadline) -> bool:
        imap: imaplib.IMAP4
        if self._security is Security.TLS:
            tls = self._tls or ssl.create_default_context()
            imap = _WatchedTls(self._host, self._port, tls, self._timeout_s, deadline)
        else:
            imap = _Watched(self._host, self._port, self._timeout_s, deadline)
        try:
            imap.login(self._user, password)
            _require(imap.select(_quoted(self._mailbox), readonly=True))
            found = _require(imap.uid("SEARCH", "HEADER", "Message-ID", _quoted(wanted)))
            uids = (found[0] or b"").decode().split()
            # A server may search for a part of the text, so what it found is looked at.
            if any(_message_id(imap, uid) == wanted for uid in uids[:HITS_MAX]):
                return True
            if len(uids) > HITS_MAX:
                raise imaplib.IMAP4.error(
                    f"{len(uids)} mails contain {wanted}, the first {HITS_MAX} are others"
                )
            return False
        finally:
            with suppress(OSError, imaplib.IMAP4.error):
                imap.logout()


def _message_id(imap: imaplib.IMAP4, uid: str) -> str:
    for part in _require(imap.uid("FETCH", uid, "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")):
        if isinstance(part, tuple):
            return str(BytesHeaderParser().parsebytes(part[1])["Message-ID"] or "").strip()
    return ""


def _require(answer: tuple[str, list[bytes | None]]) -> list[bytes | None]:
    """What came with an OK; raises imaplib's error for anything else, which it does itself for "BAD" only."""
    status, data = answer
    if status != "OK":
        raise imaplib.IMAP4.error(f"the server said {status}: {data!r}")
    return data


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Watched(imaplib.IMAP4):
    """A connection that the deadline can cut, from the greeting on."""

    def __init__(self, host: str, port: int, timeout_s: float, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(host, port, timeout_s)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        super().open(host, port, timeout)
        self._deadline.watch(self.sock)


class _WatchedTls(imaplib.IMAP4_SSL):
    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext, timeout_s: float, deadline: Deadline
    ) -> None:
        self._deadline = deadline
        super().__init__(host, port, ssl_context=tls, timeout=timeout_s)

    def open(self, host: str = "", port: int | None = 993, timeout: float | None = None) -> None:
        super().open(host, port, timeout)
        self._deadline.watch(self.sock)
