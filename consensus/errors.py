"""One class for each reaction of a caller. "Refused" was surely not applied; "unknown" may have been."""

from __future__ import annotations


class ConsensusError(Exception):
    """Root of all errors that `consensus` raises on purpose."""


class Refused(ConsensusError):
    """The command was not applied and never will be."""


class NoQuorum(Refused):
    """No leader with a majority was reachable before the deadline; nothing was proposed."""


class OutcomeUnknown(ConsensusError):
    """Proposed, but no answer before the deadline: it may have been applied or may still be."""


class PortInUse(ConsensusError):
    """Another program listens on the address of this node."""


class DataDirectoryError(ConsensusError):
    """The data directory belongs to somebody else, or what it holds is damaged; the text says what to do."""
