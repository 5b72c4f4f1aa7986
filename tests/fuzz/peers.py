"""What a member's Raft hears: the words that no follower can tell from a leader's, and some that are none at all.

Raft survives crashes, not liars. What only a member that lies can say, and what must be believed of it, is left out of
the fuzz: "I lead" in a term it does not lead (appends, snapshots), and "you were removed".
"""

from __future__ import annotations

from raftmeta.consensus.codec import FormatError, decode

POISON = (
    b"cos\nsystem\n(S'exit 1'\ntR.",
    b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x06exit 1\x94\x85\x94R\x94.",
)
"""What a decoder of pickles would run, in two of its protocols."""

_BELIEVED = ("append", "snapshot_chunk", "not_member", "enlist_reply")


def believable_lie(frame: bytes) -> bool:
    """Tell whether a frame's payload says what the receiver would have to believe."""
    try:
        return decode(frame).WhichOneof("body") in _BELIEVED
    except FormatError:
        return False
