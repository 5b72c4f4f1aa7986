"""The pysyncobj this package stands on, checked at import, and typed names for the private state it keeps there."""

from __future__ import annotations

import operator
from typing import Any

import pysyncobj.version
from pysyncobj.syncobj import SyncObj

ENGINE_VERSION = "0.3.17"

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2  # pysyncobj's own numbers for its states

_METHODS = (
    "_SyncObj__applyLogEntries",
    "_SyncObj__changeCluster",
    "_SyncObj__connectedToAnyone",
    "_SyncObj__doApplyCommand",
    "_SyncObj__doChangeCluster",
    "_SyncObj__generateRaftTimeout",
    "_SyncObj__getCurrentLogIndex",
    "_SyncObj__getCurrentLogTerm",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onBecomeLeader",
    "_SyncObj__onMessageReceived",
    "_SyncObj__parseChangeClusterRequest",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__sendNextNodeIdx",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__tryLogCompaction",
    "_SyncObj__updateClusterConfiguration",
    "_applyCommand",
    "_checkCommandsToApply",
    "_doDestroy",
    "_onTick",
)

_FIELDS = (
    "changeClusterIDx",
    "leaderCommitIndex",
    "noopIDx",
    "otherNodes",
    "raftCommitIndex",
    "raftCurrentTerm",
    "raftElectionDeadline",
    "raftLastApplied",
    "raftLeader",
    "raftLog",
    "raftMatchIndex",
    "raftNextIndex",
    "raftState",
    "readonlyNodes",
    "votedForNodeId",
    "votesCount",
)


class EngineError(ImportError):
    """The pysyncobj that is installed is not the one this package was made for."""


def check_engine(engine: Any = SyncObj, version: str = pysyncobj.version.VERSION) -> None:
    """Raise `EngineError` unless `engine` has the version and every private name that this package replaces or uses."""
    if version != ENGINE_VERSION:
        raise EngineError(f"raftmeta needs pysyncobj {ENGINE_VERSION} exactly, found {version}: install that version")
    set_by_constructor = engine.__init__.__code__.co_names
    missing = [name for name in _METHODS if not callable(getattr(engine, name, None))]
    missing += [name for name in _FIELDS if f"_SyncObj__{name}" not in set_by_constructor]
    if missing:
        raise EngineError(f"this pysyncobj {version} lacks {', '.join(missing)}: reinstall it from the package index")


check_engine()


def field(name: str) -> Any:
    """Return a property that stands for one of pysyncobj's private attributes: read by a function in C, many times a turn."""
    if name not in _FIELDS:
        raise EngineError(f"{name} is not among the names checked at import")
    mangled = f"_SyncObj__{name}"

    def put(instance: Any, value: Any) -> None:
        setattr(instance, mangled, value)

    return property(operator.attrgetter(mangled), put)
