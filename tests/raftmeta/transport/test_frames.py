"""Frames and greetings: whatever bytes arrive, what comes out is what was sent, or the stream is refused."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from raftmeta.transport import Peer
from raftmeta.transport.frame import BadFrame, FrameReader, encode
from raftmeta.transport.hello import MAX_HELLO, Refused, Self, judge, parse
from raftmeta.v1.hello_pb2 import Hello

ME = Self(1, "n1", 77, "127.0.0.1:1")
OTHER = Self(2, "n2", 77, "127.0.0.1:2")
PEERS = {2: Peer("127.0.0.1:2", "n2"), 3: Peer("127.0.0.1:3")}


def drain(reader: FrameReader) -> list[bytes]:
    found = []
    while (payload := reader.next()) is not None:
        found.append(payload)
    return found


@given(st.lists(st.binary(max_size=200)), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(payloads: list[bytes], step: int) -> None:
    reader = FrameReader(200)
    stream = b"".join(map(encode, payloads))
    found = []
    for start in range(0, len(stream), step):
        reader.push(stream[start : start + step])
        found += drain(reader)
    assert found == payloads


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_changed_byte_never_gives_another_payload(payload: bytes, data: st.DataObject) -> None:
    stream = bytearray(encode(payload))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    reader = FrameReader(1 << 33)
    reader.push(bytes(stream))
    try:
        assert reader.next() is None
    except BadFrame:
        return


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_never_taken_for_a_frame(junk: bytes) -> None:
    reader = FrameReader(MAX_HELLO)
    reader.push(junk)
    try:
        found = drain(reader)
    except BadFrame:
        return
    assert all(encode(payload) in junk for payload in found)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_never_a_greeting_that_is_believed(junk: bytes) -> None:
    with pytest.raises(Refused):
        judge(parse(junk), ME, PEERS, None, None)


def test_an_honest_greeting_is_believed() -> None:
    judge(parse(OTHER.hello(1)), ME, PEERS, frozenset({"n2"}), None)
    judge(parse(OTHER.hello(0)), ME, PEERS, frozenset({"n2", "x"}), 2)
    judge(parse(Self(3, "new", 77, "").hello(1)), ME, PEERS, frozenset({"new"}), None)
    judge(parse(OTHER.hello(1)), ME, PEERS, None, None)


@pytest.mark.parametrize(
    ("sender", "receiver", "certified", "expected", "reason"),
    [
        (Self(2, "n2", 78, ""), 1, {"n2"}, None, "belongs to cluster 4e"),
        (Self(4, "n4", 77, ""), 1, {"n4"}, None, "not in the membership"),
        (Self(1, "n1", 77, ""), 1, {"n1"}, None, "not in the membership"),
        (Self(2, "n2", 77, ""), 3, {"n2"}, None, "looks for member 3"),
        (Self(2, "n2", 77, ""), 0, {"n2"}, 3, "answered for 3"),
        (Self(2, "n2", 77, ""), 1, {"n3"}, None, "certificate issued to n3"),
        (Self(2, "n2", 77, ""), 1, set(), None, "certificate issued to no member"),
        (Self(2, "nx", 77, ""), 1, {"nx"}, None, "is 'n2' and came as 'nx'"),
        (Self(2, "nx", 77, ""), 1, None, None, "is 'n2' and came as 'nx'"),
        (Self(3, "n2", 77, ""), 1, {"n2"}, None, "another member's"),
        (Self(3, "n1", 77, ""), 1, {"n1"}, None, "another member's"),
        (Self(2, "n" * 129, 77, ""), 1, {"n2"}, None, "too long"),
        (Self(2, "n2", 77, "h" * 301), 1, {"n2"}, None, "too long"),
    ],
)
def test_a_greeting_with_any_doubt_is_refused(
    sender: Self, receiver: int, certified: set[str] | None, expected: int | None, reason: str
) -> None:
    names = None if certified is None else frozenset(certified)
    with pytest.raises(Refused, match=reason):
        judge(parse(sender.hello(receiver)), ME, PEERS, names, expected)


@pytest.mark.parametrize(("newest", "oldest", "fine"), [(1, 1, True), (9, 1, True), (9, 2, False), (0, 0, False)])
def test_versions_must_overlap(newest: int, oldest: int, fine: bool) -> None:
    hello = Hello.FromString(OTHER.hello(1))
    hello.version, hello.oldest_version = newest, oldest
    if fine:
        judge(hello, ME, PEERS, None, None)
    else:
        with pytest.raises(Refused, match="speaks protocol"):
            judge(hello, ME, PEERS, None, None)
