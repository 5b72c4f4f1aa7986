"""A key-value store as one client alone would see it, without revisions: what the search replays orders on."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from faults.checks.cells import Cells, Draft, Held
from faults.checks.execution import result_holds
from faults.checks.keys import ALL
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

Tokens = Mapping[tuple[bytes, int], bytes]
"""The value that (key, modification revision) was seen with: the number only names a write, its size says nothing."""


class Unjudged(Exception):  # noqa: N818 - it says what a request is
    """A request whose meaning depends on revisions."""


@dataclass(frozen=True, slots=True)
class Component:
    """Keys that share no operation with other keys.

    Attributes:
        keys: In order.
        tokens: What revisions in compares name.
    """

    keys: tuple[bytes, ...]
    tokens: Tokens

    def step(self, request: Message, answer: Message | None) -> Callable[[Cells], tuple[Cells, ...]]:
        """What a call makes of a state: nothing if its answer cannot be; more than one if it is not known. Raises Unjudged."""
        run = _Run(self, request, answer)
        run.refuse_revisions(request)
        return run

    def forget_lease(self, lease: int) -> Callable[[Cells], tuple[Cells, ...]]:
        """What the end of a lease makes of a state."""

        def step(state: Cells) -> tuple[Cells, ...]:
            there = ((at, state[at]) for at in range(len(self.keys)))
            return (state.but({at: None for at, held in there if held is not None and held[2] == lease}),)

        return step

    def places(self, key: bytes, end: bytes) -> Sequence[int]:
        """Places in the state of the keys of a range."""
        low = bisect.bisect_left(self.keys, key)
        if end == ALL:
            return range(low, len(self.keys))
        return range(low, bisect.bisect_left(self.keys, end or key + ALL))

    def text(self, state: Cells) -> str:
        """A state in words."""
        there = ((key, state[at]) for at, key in enumerate(self.keys))
        found = [f"{key!r}: {held[0]!r}" for key, held in there if held is not None]
        return "{" + ", ".join(found[:8]) + (", ..." if len(found) > 8 else "") + "}"


class _Run:
    """One call; calling it with a state gives the states after it."""

    def __init__(self, component: Component, request: Message, answer: Message | None) -> None:
        self._component = component
        self._request = request
        self._answer = answer
        self._known: dict[tuple[bytes, bytes], Sequence[int]] = {}

    def __call__(self, state: Cells) -> tuple[Cells, ...]:
        found = []
        for options in self._branches(self._request, self._answer, state):
            after = Draft(state)
            if self._do(self._request, self._answer, after, iter(options)):
                found.append(after.done())
        return tuple(dict.fromkeys(found))

    def refuse_revisions(self, request: Message) -> None:
        """Raise Unjudged for what cannot be told without revisions."""
        if isinstance(request, pb.RangeRequest):
            by_revision = request.min_mod_revision or request.max_mod_revision or request.min_create_revision
            if request.revision or by_revision or request.max_create_revision:
                raise Unjudged
            if request.sort_target != pb.RangeRequest.KEY:
                raise Unjudged
        elif isinstance(request, pb.TxnRequest):
            for op in (*request.success, *request.failure):
                kind = op.WhichOneof("request")
                if kind is not None:
                    self.refuse_revisions(getattr(op, kind))
        elif not isinstance(request, pb.PutRequest | pb.DeleteRangeRequest):
            raise Unjudged

    def _places(self, key: bytes, end: bytes) -> Sequence[int]:
        found = self._known.get((key, end))
        if found is None:
            found = self._known[key, end] = self._component.places(key, end)
        return found

    def _branches(self, request: Message, answer: Message | None, state: Cells) -> Iterator[list[bool]]:
        """The ways in which the compares of a tree of transactions can come out; one empty way without any."""
        if not isinstance(request, pb.TxnRequest):
            yield []
            return
        can_hold, can_fail = self._compares(request.compare, state)
        for way, possible in ((True, can_hold), (False, can_fail)):
            if not possible or (isinstance(answer, pb.TxnResponse) and answer.succeeded is not way):
                continue
            ways: list[list[bool]] = [[way]]
            for number, op in enumerate(request.success if way else request.failure):
                if op.HasField("request_txn"):
                    inner = answer.responses[number].response_txn if isinstance(answer, pb.TxnResponse) else None
                    rest = list(self._branches(op.request_txn, inner, state))
                    ways = [[*one, *other] for one in ways for other in rest]
            yield from ways

    def _compares(self, compares: Sequence[pb.Compare], state: Cells) -> tuple[bool, bool]:
        """(can all hold, can one fail)."""
        can_hold, can_fail = True, False
        for compare in compares:
            places = self._places(compare.key, compare.range_end)
            there = [(self._component.keys[at], held) for at in places if (held := state[at]) is not None]
            missing: list[tuple[bytes, Held | None]] = [(compare.key, None)]
            for key, held in there or missing:
                holds = self._compare(compare, key, held)
                can_hold = can_hold and holds is not False
                can_fail = can_fail or holds is not True
        return can_hold, can_fail

    def _compare(self, compare: pb.Compare, key: bytes, held: Held | None) -> bool | None:
        """Whether a compare holds; None when only revisions could tell."""
        value, version, lease = held or (b"", 0, 0)
        if compare.target == pb.Compare.VALUE:
            return held is not None and result_holds(compare.result, value, compare.value)
        if compare.target == pb.Compare.VERSION:
            return result_holds(compare.result, version, compare.version)
        if compare.target == pb.Compare.LEASE:
            return result_holds(compare.result, lease, compare.lease)
        modified = compare.target == pb.Compare.MOD
        wanted = compare.mod_revision if modified else compare.create_revision
        if held is None:
            return result_holds(compare.result, 0, wanted)
        if wanted <= 0:
            return result_holds(compare.result, 1, wanted)
        token = self._component.tokens.get((key, wanted)) if modified else None
        if token is not None and token != value and compare.result in (pb.Compare.EQUAL, pb.Compare.NOT_EQUAL):
            return compare.result == pb.Compare.NOT_EQUAL
        return None

    def _do(self, request: Message, answer: Message | None, state: Draft, ways: Iterator[bool]) -> bool:
        """Change `state`; False when the answer cannot be."""
        match request:
            case pb.PutRequest():
                return self._put(request, answer, state)
            case pb.RangeRequest():
                return not isinstance(answer, pb.RangeResponse) or self._range_fits(request, answer, state)
            case pb.DeleteRangeRequest():
                gone = [at for at in self._places(request.key, request.range_end) if state[at] is not None]
                if isinstance(answer, pb.DeleteRangeResponse) and (
                    answer.deleted != len(gone) or (request.prev_kv and not self._fits(answer.prev_kvs, gone, state))
                ):
                    return False
                for at in gone:
                    state[at] = None
            case pb.TxnRequest():
                ops = request.success if next(ways) else request.failure
                if isinstance(answer, pb.TxnResponse) and len(answer.responses) != len(ops):
                    return False
                for number, op in enumerate(ops):
                    kind = op.WhichOneof("request")
                    inner = None
                    if isinstance(answer, pb.TxnResponse):
                        inner = getattr(answer.responses[number], (kind or "").replace("request", "response"))
                    if kind is not None and not self._do(getattr(op, kind), inner, state, ways):
                        return False
        return True

    def _put(self, request: pb.PutRequest, answer: Message | None, state: Draft) -> bool:
        (at,) = self._places(request.key, b"")
        before = state[at]
        if isinstance(answer, pb.PutResponse) and request.prev_kv:
            prior = [answer.prev_kv] if answer.HasField("prev_kv") else []
            if not self._fits(prior, [at] if before else [], state):
                return False
        value, version, lease = before or (b"", 0, 0)
        if before is None and (request.ignore_value or request.ignore_lease):
            return False
        state[at] = (
            value if request.ignore_value else request.value,
            version + 1,
            lease if request.ignore_lease else request.lease,
        )
        return True

    def _range_fits(self, request: pb.RangeRequest, answer: pb.RangeResponse, state: Draft) -> bool:
        found = [at for at in self._places(request.key, request.range_end) if state[at] is not None]
        if answer.count != len(found):
            return False
        if request.count_only:
            return True
        if request.sort_order == pb.RangeRequest.DESCEND:
            found.reverse()
        if request.limit > 0:
            found = found[: request.limit]
        return self._fits(answer.kvs, found, state, keys_only=request.keys_only)

    def _fits(
        self, kvs: Sequence[kv_pb2.KeyValue], places: list[int], state: Draft, *, keys_only: bool = False
    ) -> bool:
        """Whether an answer shows just the keys at `places`, as they are."""
        if len(kvs) != len(places):
            return False
        for kv, at in zip(kvs, places, strict=True):
            held = state[at]
            if held is None or kv.key != self._component.keys[at]:
                return False
            if not keys_only and (kv.value, kv.version, kv.lease) != held:
                return False
        return True
