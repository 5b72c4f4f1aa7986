"""What the Raft core asks of the outside beside its log: small durable records, a way to send, work in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from .contract import Member

T = TypeVar("T")


class Cabinet(Protocol):
    """Small named records, each replaced atomically and durably, and a place for snapshot directories."""

    def save(self, name: str, data: bytes) -> None:
        """Replace the record `name`; durable on return."""

    def load(self, name: str) -> bytes | None:
        """Return the record, None when there is none; raise ValueError when it is damaged."""

    def directory(self, name: str) -> Path:
        """Return a fresh empty directory called `name`; what an earlier one held is removed."""

    def discard(self, name: str) -> None:
        """Remove the directory `name` if it is there."""


class Wire(Protocol):
    """One member's way to the others. Frames may be lost, never altered."""

    def send(self, member_id: int, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped at once (no connection, queue full, unknown peer)."""

    def set_peers(self, peers: Mapping[int, Member]) -> None:
        """Say who may connect, under which name and where they are: by member id, this member left out."""


class Background(Protocol):
    """Work off the Raft loop."""

    def __call__(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Run `work` elsewhere, then `done` with what it returned or raised, on the Raft loop."""
