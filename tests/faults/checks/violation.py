"""What a check found, and operations in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faults.history import Attempt, Operation
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

SHOWN = 40
"""Characters of a key or value that are shown."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken.

    Attributes:
        check: Name of the rule, in a few words.
        text: What happened, which operations show it, and why it cannot be.
    """

    check: str
    text: str

    def __str__(self) -> str:
        """One paragraph."""
        return f"{self.check}: {self.text}"


def call(operation: Operation, attempt: Attempt) -> str:
    """A call in words: number, client, member, request, seconds, outcome."""
    end = "?" if attempt.end is None else f"{attempt.end:.4f}"
    outcome = attempt.outcome.value
    if attempt.answer is not None:
        outcome += f" {answer(attempt.answer)}"
    elif attempt.error:
        outcome += f" ({attempt.error[:120]})"
    which = f"#{operation.number}"
    if len(operation.attempts) > 1:
        which += f".{operation.attempts.index(attempt) + 1}"
    return (
        f"[{which} {operation.client}@{attempt.member} {request(operation.request)}"
        f" from {attempt.start:.4f} to {end}: {outcome}]"
    )


def bytes_text(data: bytes) -> str:
    """Bytes, shortened."""
    text = repr(data)[1:]
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}...({len(data)} bytes)"


def span(key: bytes, end: bytes) -> str:
    """A range of keys."""
    return bytes_text(key) if not end else f"{bytes_text(key)}..{bytes_text(end)}"


def key_values(kvs: Sequence[kv_pb2.KeyValue]) -> str:
    """Keys with their values and revisions, at most five."""
    shown = [f"{bytes_text(kv.key)}={bytes_text(kv.value)}@{kv.mod_revision}" for kv in kvs[:5]]
    return "{" + ", ".join(shown) + (", ..." if len(kvs) > 5 else "") + "}"


def event(one: kv_pb2.Event) -> str:
    """An event of a watch."""
    kv = one.kv
    if one.type == kv_pb2.Event.DELETE:
        return f"delete {bytes_text(kv.key)}@{kv.mod_revision}"
    lease = f" lease {kv.lease}" if kv.lease else ""
    return (
        f"put {bytes_text(kv.key)}={bytes_text(kv.value)}@{kv.mod_revision}"
        f" (created {kv.create_revision}, version {kv.version}{lease})"
    )


def events(many: Sequence[kv_pb2.Event]) -> str:
    """Events, at most five."""
    return "; ".join([event(one) for one in many[:5]] + (["..."] if len(many) > 5 else [])) or "nothing"


def request(message: Message) -> str:
    """A request in words."""
    match message:
        case pb.PutRequest():
            lease = f" lease {message.lease}" if message.lease else ""
            return f"put {bytes_text(message.key)}={bytes_text(message.value)}{lease}"
        case pb.DeleteRangeRequest():
            return f"delete {span(message.key, message.range_end)}"
        case pb.RangeRequest():
            how = " serializable" if message.serializable else ""
            how += f" at {message.revision}" if message.revision else ""
            return f"read {span(message.key, message.range_end)}{how}"
        case pb.TxnRequest():
            compares = " and ".join(_compare(one) for one in message.compare) or "always"
            branches = [", ".join(_op(op) for op in branch) for branch in (message.success, message.failure)]
            return f"txn if {compares} then ({branches[0]}) else ({branches[1]})"
    fields = ", ".join(f"{field.name}={value}" for field, value in message.ListFields())
    return f"{message.DESCRIPTOR.name.removesuffix('Request')}({fields})"


def _op(op: pb.RequestOp) -> str:
    kind = op.WhichOneof("request")
    return request(getattr(op, kind)) if kind else "nothing"


def _compare(one: pb.Compare) -> str:
    target = pb.Compare.CompareTarget.Name(one.target).lower()
    field = one.WhichOneof("target_union")
    wanted = getattr(one, field) if field else 0
    sign = {0: "==", 1: ">", 2: "<", 3: "!="}.get(one.result, "?")
    return (
        f"{target}({span(one.key, one.range_end)}) {sign} {bytes_text(wanted) if isinstance(wanted, bytes) else wanted}"
    )


def answer(message: Message) -> str:
    """An answer in words, its revision first."""
    header = getattr(message, "header", None)
    text = f"rev {header.revision}" if header is not None else ""
    match message:
        case pb.RangeResponse():
            return f"{text} {key_values(message.kvs)} count {message.count}"
        case pb.DeleteRangeResponse():
            return f"{text} deleted {message.deleted}"
        case pb.TxnResponse():
            parts = [answer(getattr(one, one.WhichOneof("response") or "response_range")) for one in message.responses]
            return f"{text} {'succeeded' if message.succeeded else 'failed'} ({', '.join(parts)})"
        case pb.LeaseGrantResponse() | pb.LeaseKeepAliveResponse():
            return f"{text} lease {message.ID} TTL {message.TTL}"
    return text
