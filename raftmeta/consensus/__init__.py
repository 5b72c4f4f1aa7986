"""Raft: pysyncobj's core with its log, its messages and its rules for safety replaced."""

from .cabinet import DiskCabinet
from .codec import FormatError
from .config import RaftConfig
from .contract import Consensus, Entry, Member, Refusal, Role, StateMachine, Status
from .counters import Counters
from .files import create_data_dir, force_new_cluster
from .hosting import host_consensus
from .runtime import PeerLink, RunningConsensus, TransportFactory
from .state import SafetyError, StartError

__all__ = [
    "Consensus",
    "Counters",
    "DiskCabinet",
    "Entry",
    "FormatError",
    "Member",
    "PeerLink",
    "RaftConfig",
    "Refusal",
    "Role",
    "RunningConsensus",
    "SafetyError",
    "StartError",
    "StateMachine",
    "Status",
    "TransportFactory",
    "create_data_dir",
    "force_new_cluster",
    "host_consensus",
]
