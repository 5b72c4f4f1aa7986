"""Histories written by hand, call by call, true or false."""

from __future__ import annotations

from faults.checks.execution import Execution
from faults.checks.truth import Truth
from faults.checks.versions import Versions
from faults.history import Attempt, Heard, History, Operation, Outcome, Watching
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

Wrote = tuple[bytes, bytes | None]
"""(key, value) of a put; without a value a delete."""
ALL = pb.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=1)


class Script:
    """A history in the making. Times are seconds; a call lasts from `at` to `at + 0.5` unless said otherwise.

    Attributes:
        history: What was said so far.
        log: Events by revision, as `wrote` says.
    """

    def __init__(self) -> None:
        """Begin with an empty store."""
        self.history = History()
        self.log: dict[int, list[kv_pb2.Event]] = {}
        self._versions = Versions(Truth())

    def call(
        self,
        at: float,
        request: Message,
        answer: Message | None,
        revision: int = 0,
        *,
        client: str = "",
        member: str = "m0",
        until: float | None = None,
        failed: bool = False,
        request_id: bytes = b"",
    ) -> Operation:
        """Add a call: answered, else failed for certain or unknown; `revision` goes into the answer's header."""
        if answer is not None:
            answer.header.revision = revision  # type: ignore[attr-defined]
        outcome = Outcome.OK if answer is not None else Outcome.FAILED if failed else Outcome.UNKNOWN
        number = len(self.history.operations)
        attempt = Attempt(member, at, until or at + 0.5, outcome, answer, "" if answer else "deadline")
        self.history.operations.append(Operation(number, client or f"c{number}", request, [attempt], request_id))
        return self.history.operations[-1]

    def put(
        self, at: float, key: bytes, value: bytes, revision: int = 0, lease: int = 0, **options: object
    ) -> Operation:
        """Add a put, answered if there is a revision."""
        answer = pb.PutResponse() if revision else None
        return self.call(at, pb.PutRequest(key=key, value=value, lease=lease), answer, revision, **options)  # type: ignore[arg-type]

    def get(
        self, at: float, key: bytes, value: bytes | None, revision: int, mod: int = 0, **options: object
    ) -> Operation:
        """Add a read that shows `value` as written at `mod`, its first version."""
        request = pb.RangeRequest(key=key, serializable=bool(options.pop("serializable", False)))
        answer = pb.RangeResponse()
        if value is not None:
            answer.count = 1
            answer.kvs.add(key=key, value=value, mod_revision=mod, create_revision=mod, version=1)
        return self.call(at, request, answer, revision, **options)  # type: ignore[arg-type]

    def swap(self, at: float, key: bytes, old: bytes, new: bytes, revision: int) -> Operation:
        """Add a compare-and-set of values that was told to have succeeded."""
        request = pb.TxnRequest(compare=[pb.Compare(key=key, target=pb.Compare.VALUE, result=0, value=old)])  # type: ignore[arg-type]
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=new))
        answer = pb.TxnResponse(succeeded=True)
        answer.responses.add().response_put.SetInParent()
        return self.call(at, request, answer, revision)

    def puts(self, at: float, kvs: list[tuple[bytes, bytes]], revision: int) -> Operation:
        """Add a transaction of puts."""
        request, answer = pb.TxnRequest(), pb.TxnResponse(succeeded=True)
        for key, value in kvs:
            request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
            answer.responses.add().response_put.SetInParent()
        return self.call(at, request, answer if revision else None, revision)

    def wrote(self, revision: int, *changes: Wrote, lease: int = 0) -> None:
        """Say what happened at a revision; those below must have been said before."""
        request = pb.TxnRequest()
        for key, value in changes:
            op = request.success.add()
            if value is None:
                op.request_delete_range.key = key
            else:
                op.request_put.CopyFrom(pb.PutRequest(key=key, value=value, lease=lease))
        execution = Execution(self._versions, revision - 1)
        execution.run(request)
        self._versions.add(revision, execution.events)
        self.log[revision] = execution.events

    def watch(self, request: pb.WatchCreateRequest = ALL, at: float = 0.5, member: str = "m0") -> Watching:
        """Add a watcher that was created."""
        watching = Watching(len(self.history.watches), "w", member, request, at)
        self.history.watches.append(watching)
        self.hear(watching, at, 1, created=True)
        return watching

    @staticmethod
    def hear(
        watching: Watching, at: float, revision: int, *events: kv_pb2.Event, created: bool = False, compact: int = 0
    ) -> None:
        """Add a response; `revision` is its header's."""
        response = pb.WatchResponse(created=created, events=events, compact_revision=compact, canceled=compact > 0)
        response.header.revision = revision
        watching.heard.append(Heard(at, response))

    def watched(self, at: float = 90.0) -> Watching:
        """Add a watcher that heard everything, each revision in a response."""
        watching = self.watch()
        for number, events in sorted(self.log.items()):
            self.hear(watching, at, number, *events)
        return watching
