"""The replicated state machine: etcd's MVCC semantics, applied deterministically from the Raft log.

Machine(store)                 implements raftmeta.consensus.contract.StateMachine
  on_applied(listener)         Applied after every step, on the loop of consensus
  range, read_txn, hash_kv...  reads, from any thread
checks                         request checks to make before proposing
"""

from raftmeta.machine.applied import Applied, Change, LeaseRecord, Outcome, Result, SpaceChange, SpacePolicy
from raftmeta.machine.history import History, KeyRange
from raftmeta.machine.machine import Machine

__all__ = [
    "Applied",
    "Change",
    "History",
    "KeyRange",
    "LeaseRecord",
    "Machine",
    "Outcome",
    "Result",
    "SpaceChange",
    "SpacePolicy",
]
