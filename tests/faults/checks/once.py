"""Exactly once: a request that was repeated under one id took effect at most once, and once if it was answered."""

from __future__ import annotations

from collections.abc import Iterator

from faults.checks.explaining import puts
from faults.checks.truth import Truth
from faults.checks.violation import Violation, call
from faults.history import History, Outcome

from raftmeta.etcd import kv_pb2


def check(history: History, truth: Truth) -> Iterator[Violation]:
    """Every operation that has a request id, by the keys and values it marks with it."""
    written: dict[tuple[bytes, bytes], list[int]] = {}
    for number, revision in sorted(truth.revisions.items()):
        for one in revision.events:
            if one.type == kv_pb2.Event.PUT:
                written.setdefault((one.kv.key, one.kv.value), []).append(number)
    for operation in history.operations:
        if not operation.request_id:
            continue
        marked = [
            kv for kv in puts(operation.request) if operation.request_id in kv[0] or operation.request_id in kv[1]
        ]
        attempts = ", ".join(call(operation, attempt) for attempt in operation.attempts)
        if not marked:
            yield Violation("cannot be judged", f"{attempts}: no key and no value it writes has its request id")
        for kv in dict.fromkeys(marked):
            found = written.get(kv, [])
            if len(found) > 1:
                text = f"{kv[0]!r}={kv[1]!r} was written at {found}, and asked for once: {attempts}"
                yield Violation("request applied twice", text)
        if operation.outcome is Outcome.OK and marked and not any(written.get(kv) for kv in marked):
            yield Violation("request lost", f"nothing of it is in the log: {attempts}")
        if operation.outcome is Outcome.FAILED and any(written.get(kv) for kv in marked):
            yield Violation("failed request took effect", f"it is in the log: {attempts}")
