"""A Raft group that hands out unique keys and remembers which were executed. Usable alone; knows nothing of tasks."""

from consensus.errors import ConsensusError, DataDirectoryError, NoQuorum, OutcomeUnknown, PortInUse, Refused
from consensus.key_service import KeyService, LedgerStatistics, PeerConnection
from consensus.operations import ExecuteAnswer

__all__ = [
    "ConsensusError",
    "DataDirectoryError",
    "ExecuteAnswer",
    "KeyService",
    "LedgerStatistics",
    "NoQuorum",
    "OutcomeUnknown",
    "PeerConnection",
    "PortInUse",
    "Refused",
]
