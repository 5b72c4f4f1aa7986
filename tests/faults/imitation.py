"""A correct store under concurrent clients in virtual time: a source of histories in which nothing is wrong.

Effects happen one by one, at a moment between start and end of each call; what members would add (answers that are
lost, members that lag, watchers that break off) is drawn from a seed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from faults.checks.execution import Execution
from faults.checks.keys import covers
from faults.checks.truth import Truth
from faults.checks.versions import Versions
from faults.history import History, Operation, Watching
from google.protobuf.message import Message

from raftmeta.etcd import kv_pb2
from raftmeta.etcd import rpc_pb2 as pb

KEYS = [b"a", b"b", b"c", b"d"]
MEMBERS = ["m0", "m1", "m2"]


@dataclass(slots=True)
class _Watcher:
    client: str
    key: bytes
    end: bytes
    filters: list[int] = field(default_factory=list)
    previous: bool = False
    watching: Watching | None = None
    member: str = "m0"
    next: int = 0


class Imitation:
    """One run; `history` is complete when `run` has returned.

    Attributes:
        history: What clients did and saw.
        now: Virtual seconds.
    """

    def __init__(self, seed: int, losses: float = 0.1) -> None:
        """Draw everything from `seed`; `losses` is the share of attempts without an answer."""
        self._losses = losses
        self.now = 100.0
        self.history = History(clock=lambda: self.now)
        self._versions = Versions(Truth())
        self._dice = random.Random(seed)
        self._serial = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._log: list[list[kv_pb2.Event]] = [[], []]
        self._reached = dict.fromkeys(MEMBERS, 1)
        self._leases: dict[int, int] = {}
        self._deadlines: dict[int, float] = {}
        self._seen: dict[bytes, int] = {}
        self._busy = True
        self._until = 0.0
        self._working = 0

    def run(self, operations: int, clients: int = 5) -> History:
        """Let `clients` make about `operations` operations, then everybody who watches hear everything."""
        watchers = [_Watcher("w0", b"\0", b"\0"), _Watcher("w1", b"\0", b"\0", previous=True)]
        watchers += [_Watcher("w2", b"b", b"d", previous=True), _Watcher("w3", b"a", b"", filters=[1])]
        for watcher in watchers:
            watcher.next = 1 if watcher.end == b"\0" else 0
            self._at(0.001, partial(self._watch, watcher))
        for number in range(clients):
            self._working += 1
            self._at(self._dice.random() * 0.1, partial(self._next, f"c{number}", operations // clients))
        while self._working:
            self._step()
        self.history.healed = self.now
        self._busy, self._until = False, self.now + 5.0  # by then the last lease has ended
        while self._events:
            self._step()
        self.history.ended = self.now + 1.0
        return self.history

    def _step(self) -> None:
        self.now, _, event = heapq.heappop(self._events)
        event()

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), event))

    # --- clients -------------------------------------------------------------------------------------------------

    def _next(self, client: str, left: int) -> None:
        if not left:
            self._working -= 1
            return
        request, request_id = self._draw(client)
        operation = self.history.begin(client, self._dice.choice(MEMBERS), request, request_id)
        self._attempt(operation, left)

    def _attempt(self, operation: Operation, left: int) -> None:
        """Let the call have its effect at some time and be answered later; or not be, and have it whenever, or never."""
        dice = self._dice
        attempt = len(operation.attempts) - 1
        draw = dice.random()
        if draw < self._losses * 0.75:
            if dice.random() < 0.5:
                self._at(dice.random() * 0.4, partial(self._late, operation, attempt))
            self._at(0.05, lambda: self._give_up(operation, left, certainly=False))
        elif draw < self._losses:
            self._at(0.01, lambda: self._give_up(operation, left, certainly=True))
        else:
            self._at(dice.random() * 0.05, lambda: self._answer(operation, attempt, left))

    def _late(self, operation: Operation, attempt: int) -> None:
        self._effect(operation, attempt)

    def _give_up(self, operation: Operation, left: int, *, certainly: bool) -> None:
        self.history.failed(operation, "nobody knows", certainly=certainly)
        if operation.request_id and len(operation.attempts) < 4:
            self.history.retry(operation, self._dice.choice(MEMBERS))
            self._attempt(operation, left)
        else:
            self._at(self._dice.random() * 0.02, lambda: self._next(operation.client, left - 1))

    def _answer(self, operation: Operation, attempt: int, left: int) -> None:
        result = self._effect(operation, attempt)

        def arrive() -> None:
            if result is not None:
                self.history.answered(operation, result)
            else:
                self.history.failed(operation, "refused", certainly=True)
            self._at(self._dice.random() * 0.02, lambda: self._next(operation.client, left - 1))

        self._at(self._dice.random() * 0.05, arrive)

    def _effect(self, operation: Operation, attempt: int) -> Message | None:
        """Do a request at this moment, on the member that was asked; None when it is refused."""
        request, member = operation.request, operation.attempts[attempt].member
        if isinstance(request, pb.LeaseKeepAliveRequest):
            return self._renew(request.ID)
        if isinstance(request, pb.RangeRequest):
            return self._read(request, member)
        if isinstance(request, pb.LeaseGrantRequest):
            self._leases[request.ID] = request.TTL
            self._renew(request.ID)
            return pb.LeaseGrantResponse(ID=request.ID, TTL=request.TTL)
        if isinstance(request, pb.PutRequest) and request.lease and request.lease not in self._leases:
            return None
        if isinstance(request, pb.LeaseRevokeRequest) and self._leases.pop(request.ID, None) is None:
            return None
        answer = self._apply(request)
        self._reached[member] = len(self._log) - 1
        return answer

    def _apply(self, request: Message) -> Message:
        execution = Execution(self._versions, len(self._log) - 1)
        answer = execution.run(request)
        if execution.events:
            self._versions.add(len(self._log), execution.events)
            self._log.append(execution.events)
        answer.header.revision = len(self._log) - 1  # type: ignore[attr-defined]
        return answer

    def _read(self, request: pb.RangeRequest, member: str) -> Message | None:
        """Read: serializably as of a revision that the member may have reached, else as of now."""
        current = len(self._log) - 1
        reached = self._dice.randint(self._reached[member], current) if request.serializable else current
        self._reached[member] = reached
        if request.revision > reached:
            return None
        answer = Execution(self._versions, reached).run(request)
        assert isinstance(answer, pb.RangeResponse)
        answer.header.revision = reached
        self._seen.update((kv.key, kv.mod_revision) for kv in answer.kvs)
        return answer

    # --- leases --------------------------------------------------------------------------------------------------

    def _renew(self, lease: int) -> Message:
        ttl = self._leases.get(lease, 0)
        if ttl:
            self._deadlines[lease] = self.now + ttl
            self._at(ttl + 0.01, partial(self._expire, lease))
        return pb.LeaseKeepAliveResponse(ID=lease, TTL=ttl)

    def _expire(self, lease: int) -> None:
        if self._deadlines[lease] < self.now and self._leases.pop(lease, None) is not None:
            self._apply(pb.LeaseRevokeRequest(ID=lease))

    # --- watchers ------------------------------------------------------------------------------------------------

    def _watch(self, watcher: _Watcher) -> None:
        """Create the watcher, anew or where it was, on some member."""
        request = pb.WatchCreateRequest(key=watcher.key, range_end=watcher.end, start_revision=watcher.next)
        request.prev_kv = watcher.previous
        request.filters.extend(watcher.filters)  # type: ignore[arg-type]
        watcher.member = self._dice.choice(MEMBERS)
        watcher.watching = self.history.watch(watcher.client, watcher.member, request, watcher.watching)
        created = pb.WatchResponse(created=True)
        created.header.revision = len(self._log) - 1
        self.history.heard(watcher.watching, created)
        watcher.next = watcher.next or len(self._log)
        self._at(self._dice.random() * 0.3, lambda: self._hear(watcher))

    def _hear(self, watcher: _Watcher) -> None:
        """Deliver some revisions that are due, or say how far it is; sometimes break off. At the end deliver all."""
        assert watcher.watching is not None
        last = len(self._log) - 1
        until = last if not self._busy else min(last, watcher.next + self._dice.randint(0, 4))
        response = pb.WatchResponse()
        response.header.revision = last
        for number in range(watcher.next, until + 1):
            response.events.extend(self._visible(watcher, number))
        watcher.next = until + 1
        if not response.events:
            response.header.revision = until
        if response.events or until == last:
            self.history.heard(watcher.watching, response)
        if self._busy and self._dice.random() < 0.05:
            self.history.unwatched(watcher.watching)
            self._at(0.1, lambda: self._watch(watcher))
        elif self._busy or self.now < self._until:
            self._at(self._dice.random() * 0.1, lambda: self._hear(watcher))

    def _visible(self, watcher: _Watcher, number: int) -> Iterator[kv_pb2.Event]:
        for one in self._log[number]:
            if covers(watcher.key, watcher.end, one.kv.key) and (not watcher.filters or one.type == 0):
                event = kv_pb2.Event()
                event.CopyFrom(one)
                before = self._versions.get(one.kv.key, number - 1)
                if watcher.previous and before is not None:
                    event.prev_kv.CopyFrom(before)
                yield event

    # --- what is asked -------------------------------------------------------------------------------------------

    def _draw(self, client: str) -> tuple[Message, bytes]:
        dice = self._dice
        key = dice.choice(KEYS)
        value = f"{client}-{next(self._serial)}".encode()
        leases = [*self._deadlines, 0, 0]
        match dice.randrange(14):
            case 0 | 1:
                return pb.PutRequest(key=key, value=value, prev_kv=dice.random() < 0.5), b""
            case 2:
                return pb.PutRequest(key=key, value=value, lease=dice.choice(leases)), b""
            case 3:
                return pb.DeleteRangeRequest(key=key, range_end=dice.choice([b"", b"", b"e"]), prev_kv=True), b""
            case 4 | 5:
                return pb.RangeRequest(key=key), b""
            case 6:
                return pb.RangeRequest(
                    key=b"a", range_end=b"z", serializable=dice.random() < 0.5, limit=dice.choice([0, 2])
                ), b""
            case 7:
                return pb.RangeRequest(
                    key=key, serializable=True, revision=dice.choice([0, 0, self._seen.get(key, 0)])
                ), b""
            case 8:
                return pb.LeaseGrantRequest(ID=next(self._serial) + 1000, TTL=dice.randint(1, 3)), b""
            case 9:
                lease = dice.choice(leases)
                draw = dice.random()
                return (pb.LeaseRevokeRequest(ID=lease) if draw < 0.2 else pb.LeaseKeepAliveRequest(ID=lease)), b""
            case 10:
                return self._once(key, value)
            case 11:
                request = pb.TxnRequest()
                for each in dice.sample(KEYS, 2):
                    request.success.add().request_put.CopyFrom(pb.PutRequest(key=each, value=value))
                request.success.add().request_range.CopyFrom(pb.RangeRequest(key=b"a", range_end=b"z"))
                return request, b""
        swap = pb.TxnRequest(
            compare=[pb.Compare(key=key, target=pb.Compare.MOD, result=0, mod_revision=self._seen.get(key, 0))]  # type: ignore[arg-type]
        )
        swap.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
        swap.failure.add().request_range.key = key
        return swap, b""

    @staticmethod
    def _once(key: bytes, value: bytes) -> tuple[Message, bytes]:
        """A put that is done once however often it is asked for, by a key that remembers it."""
        mark = b"once-" + value
        request = pb.TxnRequest(compare=[pb.Compare(key=mark, target=pb.Compare.CREATE, result=0)])  # type: ignore[arg-type]
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=mark, value=b"done"))
        request.success.add().request_put.CopyFrom(pb.PutRequest(key=key, value=value))
        request.failure.add().request_range.key = mark
        return request, mark
