"""A Raft group that hands out unique keys, says who may run them, and remembers which were executed. Knows nothing of tasks."""

from consensus.errors import (
    CertificateError,
    ConsensusError,
    DataDirectoryError,
    NoQuorum,
    OutcomeUnknown,
    PortInUse,
    Refused,
)
from consensus.key_reads import LedgerStatistics, PeerConnection, SessionView
from consensus.key_service import KeyService
from consensus.ledger.claims import Claim, ClaimKind, ClaimState, Decision
from consensus.ledger.commands import FIRST_FOREIGN_OPCODE, CommandRefused
from consensus.ledger.executed import Outcome
from consensus.ledger.marks import CancelKind, DoubleEffect
from consensus.ledger.table import Context, Table
from consensus.operations import BindAnswer, CancelAnswer, ClaimAnswer, ExecuteAnswer
from consensus.storage.journal import SyncMode
from consensus.transport.authority import MadeCertificate, make_authority, make_node_certificate
from consensus.transport.certificates import TlsFiles

__all__ = [
    "FIRST_FOREIGN_OPCODE",
    "BindAnswer",
    "CancelAnswer",
    "CancelKind",
    "CertificateError",
    "Claim",
    "ClaimAnswer",
    "ClaimKind",
    "ClaimState",
    "CommandRefused",
    "ConsensusError",
    "Context",
    "DataDirectoryError",
    "Decision",
    "DoubleEffect",
    "ExecuteAnswer",
    "KeyService",
    "LedgerStatistics",
    "MadeCertificate",
    "NoQuorum",
    "Outcome",
    "OutcomeUnknown",
    "PeerConnection",
    "PortInUse",
    "Refused",
    "SessionView",
    "SyncMode",
    "Table",
    "TlsFiles",
    "make_authority",
    "make_node_certificate",
]
