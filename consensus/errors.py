"""One class for each reaction of a caller. "Refused" was surely not applied; "unknown" may have been."""

from __future__ import annotations


class ConsensusError(Exception):
    """Root of all errors that `consensus` raises on purpose."""


class Refused(ConsensusError):
    """The command was not applied and never will be."""


class NoQuorum(Refused):
    """No leader with a majority was reachable before the deadline; nothing was proposed."""


class OutcomeUnknown(ConsensusError):
    """Proposed, but no answer before the deadline: it may have been applied or may still be.

    `call_id`, if there is one, repeats this very call through `KeyService.repeat`: it takes effect once, however often it is asked.
    """

    def __init__(self, message: str, call_id: str | None = None) -> None:
        super().__init__(message)
        self.call_id = call_id


class PortInUse(ConsensusError):
    """Another program listens on the address of this node."""


class DataDirectoryError(ConsensusError):
    """The data directory belongs to somebody else, or what it holds is damaged; the text says what to do."""


class CertificateError(ConsensusError):
    """A certificate or key is missing, unreadable, expired or another's; the text names the file and what to do."""
