"""Plain puts, a key and a value and nothing else: read off the wire and answered in a fraction of the general path's time.

Most writes are plain puts, and each is applied by every member. What is found here means exactly what the general path
does; whatever looks unusual is left to that path.
"""

from __future__ import annotations

from functools import lru_cache

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine.applied import Change
from raftmeta.machine.checks import MAX_TXN_OPS
from raftmeta.machine.wire import varint
from raftmeta.machine.writes import SpaceWriter
from raftmeta.store.layout import PREFIX
from raftmeta.store.plain import PlainPut

_KEY, _VALUE, _SUCCESS, _PUT = 0x0A, 0x12, 0x12, 0x12  # tags of PutRequest 1 and 2, TxnRequest 2, RequestOp 2
_LEASE, _LONGEST_LEASE = b"\x18", 10  # tag of PutRequest 3, and it with a positive number


def plain_put(request: pb.PutRequest) -> PlainPut | None:
    """Return a put in pieces, or None when it is not a plain one or one to refuse."""
    data = request.SerializeToString()
    return _pieces(data, 0, len(data))


def is_plain_put(data: bytes) -> bool:
    """Tell whether a client's bytes are surely a put that `plain_put` takes, valid whatever the state is; never raises."""
    try:
        put = _pieces(data, 0, len(data))
    except IndexError:  # cut short
        return False
    return put is not None and put[0] != b""


def plain_puts(request: pb.TxnRequest) -> list[PlainPut] | None:
    """Return the puts of a transaction in pieces, or None when it is anything else than up to MAX_TXN_OPS plain puts of
    different keys that depend on no compare.
    """
    return read_puts(request.SerializeToString()) if request.success and not request.compare else None


def guarded_puts(request: pb.TxnRequest) -> list[PlainPut] | None:
    """Return what `plain_puts` does of a transaction that compares keys first, else puts nothing and reads keys at most.

    Compares of ranges and reads of anything unusual are left to the general path, so that nothing of it could be refused.
    """
    if not request.success or not request.compare or max(len(request.compare), len(request.failure)) > MAX_TXN_OPS:
        return None
    for compare in request.compare:
        if not compare.key or compare.range_end:
            return None
    for op in request.failure:
        if op.WhichOneof("request") != "request_range" or not op.request_range.key or op.request_range.sort_target:
            return None
    return read_puts(pb.TxnRequest(success=request.success).SerializeToString(), leased=True)


def read_puts(data: bytes, *, leased: bool = False) -> list[PlainPut] | None:
    """Return what `plain_puts` does of a transaction in bytes, also of a client's; never raises. With `leased` puts may name
    a lease, of which nobody has asked yet whether it exists.

    Reading a put's fields through its message takes twice as long, and a call per put half as long again. Whoever writes the bytes
    otherwise than protobuf does (known fields first and in order, none at its default) is not taken for plain.
    """
    puts: list[PlainPut] = []
    at, end = 0, len(data)
    try:
        while at < end:
            if data[at] != _SUCCESS:
                return None
            size = data[at + 1]
            at += 2
            if size > 0x7F:
                if data[at] > 0x7F:
                    return None
                size = size & 0x7F | data[at] << 7
                at += 1
            stop = at + size
            if stop > end or data[at] != _PUT:
                return None
            size = data[at + 1]
            at += 2
            if size > 0x7F:
                if data[at] > 0x7F:
                    return None
                size = size & 0x7F | data[at] << 7
                at += 1
            if at + size != stop or data[at] != _KEY:
                return None
            # from here on as in _pieces
            size = data[at + 1]
            first = at + 2
            if size > 0x7F:
                size = size & 0x7F | data[first] << 7
                first += 1
                if size > PREFIX:
                    return None
            last = first + size
            if not size or last >= stop or data[last] != _VALUE:
                return None
            length = data[last + 1]
            body = last + 2
            if length > 0x7F:
                if data[body] > 0x7F:
                    return None
                length = length & 0x7F | data[body] << 7
                body += 1
            lease, rest = 0, body + length
            if rest != stop:
                lease = _lease(data[rest:stop]) if leased else 0
                if not lease:
                    return None
            puts.append((data[first:last], data[at:last], data[last + 1 : rest], lease))
            at = stop
    except IndexError:  # cut short
        return None
    return puts if 0 < len(puts) <= MAX_TXN_OPS and len({put[0] for put in puts}) == len(puts) else None


def _pieces(data: bytes, at: int, stop: int) -> PlainPut | None:
    """Read a PutRequest at [at, stop); None unless it is a key that is its own row and a value of 1 to 16,383 bytes."""
    if at >= stop or data[at] != _KEY:
        return None
    size = data[at + 1]
    first = at + 2
    if size > 0x7F:
        size = size & 0x7F | data[first] << 7  # with a third byte more than PREFIX
        first += 1
        if size > PREFIX:
            return None
    last = first + size
    if last >= stop or data[last] != _VALUE:
        return None
    length = data[last + 1]
    body = last + 2
    if length > 0x7F:
        if data[body] > 0x7F:
            return None
        length = length & 0x7F | data[body] << 7
        body += 1
    if body + length != stop:  # a lease or an option, or a field that nobody knows
        return None
    return data[first:last], data[at:last], data[last + 1 : stop], 0


@lru_cache(64)  # a node's requests share one
def _lease(data: bytes) -> int:
    """Return the lease that the end of a PutRequest names; 0 when it says anything else."""
    if data[:1] != _LEASE:
        return 0
    lease = pb.PutRequest.FromString(data).lease if len(data) <= _LONGEST_LEASE else 0
    return lease if lease > 0 and data[1:] == varint(lease) else 0


def leases_exist(writer: SpaceWriter, puts: list[PlainPut]) -> bool:
    """Tell whether there are the leases that puts name."""
    return all(writer.view.lease(writer.space, lease) is not None for lease in {put[3] for put in puts} - {0})


def run_plain(writer: SpaceWriter, puts: list[PlainPut]) -> int:
    """Apply the puts of one request; return its revision."""
    main = writer.state.current + 1
    new = tuple.__new__  # half the time of a call of the class
    writer.events = [
        new(Change, (key, main, False, created, item, None))
        for key, created, item in writer.view.put_plain(writer.space, main, puts)
    ]
    return writer.commit()


def put_answer(revision: int) -> pb.PutResponse:
    """Return what a plain put is answered."""
    response = pb.PutResponse()
    response.header.revision = revision
    return response


def txn_answer(revision: int, puts: int) -> pb.TxnResponse:
    """Return what a transaction of plain puts is answered: reading it from bytes is quicker than adding to a message."""
    header = _within(b"\x0a", b"\x18" + varint(revision))  # the revision alone; it is also a whole PutResponse
    each = _within(b"\x1a", _within(b"\x12", header))
    return pb.TxnResponse.FromString(header + b"\x10\x01" + each * puts)


def _within(tag: bytes, message: bytes) -> bytes:
    return tag + varint(len(message)) + message
