"""Every error an etcd client can be told, with etcd's exact text: clients compare the text.

MetastoreError                 one of the rows of ERRORS: a gRPC status code and a text
"""

from __future__ import annotations

import enum

import grpc

_C = grpc.StatusCode


class Fault(enum.Enum):
    """A reason a request was refused: (status code, text as etcd says it)."""

    EMPTY_KEY = (_C.INVALID_ARGUMENT, "etcdserver: key is not provided")
    KEY_NOT_FOUND = (_C.INVALID_ARGUMENT, "etcdserver: key not found")
    VALUE_PROVIDED = (_C.INVALID_ARGUMENT, "etcdserver: value is provided")
    LEASE_PROVIDED = (_C.INVALID_ARGUMENT, "etcdserver: lease is provided")
    TOO_MANY_OPS = (_C.INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
    DUPLICATE_KEY = (_C.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
    INVALID_SORT_OPTION = (_C.INVALID_ARGUMENT, "etcdserver: invalid sort option")
    INVALID_CLIENT_API_VERSION = (_C.INVALID_ARGUMENT, "etcdserver: invalid client api version")
    REQUEST_TOO_LARGE = (_C.INVALID_ARGUMENT, "etcdserver: request is too large")
    BAD_MEMBER_URLS = (_C.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
    COMPACTED = (_C.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
    FUTURE_REVISION = (_C.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
    LEASE_TTL_TOO_LARGE = (_C.OUT_OF_RANGE, "etcdserver: too large lease TTL")
    LEASE_NOT_FOUND = (_C.NOT_FOUND, "etcdserver: requested lease not found")
    MEMBER_NOT_FOUND = (_C.NOT_FOUND, "etcdserver: member not found")
    LEASE_EXISTS = (_C.FAILED_PRECONDITION, "etcdserver: lease already exists")
    MEMBER_EXISTS = (_C.FAILED_PRECONDITION, "etcdserver: member ID already exist")
    PEER_URL_EXISTS = (_C.FAILED_PRECONDITION, "etcdserver: Peer URLs already exists")
    NOT_ENOUGH_STARTED = (
        _C.FAILED_PRECONDITION,
        "etcdserver: re-configuration failed due to not enough started members",
    )
    NOT_LEARNER = (_C.FAILED_PRECONDITION, "etcdserver: can only promote a learner member")
    LEARNER_NOT_READY = (
        _C.FAILED_PRECONDITION,
        "etcdserver: can only promote a learner member which is in sync with leader",
    )
    TOO_MANY_LEARNERS = (_C.FAILED_PRECONDITION, "etcdserver: too many learner members in cluster")
    NOT_LEADER = (_C.FAILED_PRECONDITION, "etcdserver: not leader")
    BAD_LEADER_TRANSFEREE = (_C.FAILED_PRECONDITION, "etcdserver: bad leader transferee")
    NOT_SUPPORTED_FOR_LEARNER = (_C.FAILED_PRECONDITION, "etcdserver: rpc not supported for learner")
    NO_SPACE = (_C.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
    TOO_MANY_REQUESTS = (_C.RESOURCE_EXHAUSTED, "etcdserver: too many requests")
    NO_LEADER = (_C.UNAVAILABLE, "etcdserver: no leader")
    LEADER_CHANGED = (_C.UNAVAILABLE, "etcdserver: leader changed")
    STOPPED = (_C.UNAVAILABLE, "etcdserver: server stopped")
    TIMEOUT = (_C.UNAVAILABLE, "etcdserver: request timed out")
    TIMEOUT_LEADER_FAIL = (
        _C.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to previous leader failure",
    )
    TIMEOUT_CONNECTION_LOST = (_C.UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost")
    TIMEOUT_WAIT_APPLIED = (
        _C.UNAVAILABLE,
        "etcdserver: request timed out, waiting for the applied index took too long",
    )
    UNHEALTHY = (_C.UNAVAILABLE, "etcdserver: unhealthy cluster")
    CORRUPT = (_C.DATA_LOSS, "etcdserver: corrupt cluster")
    WATCH_CANCELED = (_C.CANCELLED, "etcdserver: watch canceled")

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status code."""
        return self.value[0]

    @property
    def text(self) -> str:
        """The status message, to the letter what etcd says."""
        return self.value[1]


class MetastoreError(Exception):
    """A request was refused or its outcome is unknown.

    The outcome of a write is unknown only for the TIMEOUT family, STOPPED and LEADER_CHANGED; every other fault means
    that nothing was changed.

    Attributes:
        code: gRPC status code.
        text: Status message, exactly etcd's where etcd has one.
        fault: The row of `Fault`, or None for an error a remote endpoint invented.
    """

    def __init__(self, fault: Fault | None, code: grpc.StatusCode | None = None, text: str | None = None) -> None:
        """Take a `Fault`, or the code and text a remote endpoint answered."""
        self.fault = fault
        self.code = code if code is not None else (fault.code if fault else grpc.StatusCode.UNKNOWN)
        self.text = text if text is not None else (fault.text if fault else "unknown")
        super().__init__(self.text)
