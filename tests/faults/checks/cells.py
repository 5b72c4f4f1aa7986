"""Immutable states of many keys that share what they have in common, and know their hash."""

from __future__ import annotations

from collections.abc import Mapping

Held = tuple[bytes, int, int]
"""(value, version, lease) of a key that is there."""
_CHUNK = 32


class Cells:
    """What is at every place, from 0 on; a change copies little of it."""

    __slots__ = ("_chunks", "_code")

    def __init__(self, chunks: tuple[tuple[Held | None, ...], ...], code: int) -> None:
        """Use `empty` and `but` instead."""
        self._chunks = chunks
        self._code = code

    @staticmethod
    def empty(size: int) -> Cells:
        """Places without anything."""
        return Cells(((None,) * _CHUNK,) * (size // _CHUNK + 1), 0)

    def __getitem__(self, place: int) -> Held | None:
        """What is at a place."""
        return self._chunks[place // _CHUNK][place % _CHUNK]

    def __hash__(self) -> int:
        """The same whatever the changes by which it came about."""
        return self._code

    def __eq__(self, other: object) -> bool:
        """Whether the same is at every place."""
        return self is other or (
            isinstance(other, Cells) and self._code == other._code and self._chunks == other._chunks
        )

    def but(self, changes: Mapping[int, Held | None]) -> Cells:
        """A state that differs in these places; the same object if it differs in none."""
        chunks: list[tuple[Held | None, ...]] | None = None
        code = self._code
        for place, held in changes.items():
            before = self[place]
            if before == held:
                continue
            if chunks is None:
                chunks = list(self._chunks)
            chunk = list(chunks[place // _CHUNK])
            chunk[place % _CHUNK] = held
            chunks[place // _CHUNK] = tuple(chunk)
            code ^= hash((place, before)) ^ hash((place, held))
        return self if chunks is None else Cells(tuple(chunks), code)


class Draft:
    """A state under change."""

    __slots__ = ("_base", "_changes")

    def __init__(self, base: Cells) -> None:
        """Begin with `base`."""
        self._base = base
        self._changes: dict[int, Held | None] = {}

    def __getitem__(self, place: int) -> Held | None:
        """What is at a place now."""
        return self._changes[place] if place in self._changes else self._base[place]

    def __setitem__(self, place: int, held: Held | None) -> None:
        """Change a place."""
        self._changes[place] = held

    def done(self) -> Cells:
        """The state that it has become."""
        return self._base.but(self._changes)
