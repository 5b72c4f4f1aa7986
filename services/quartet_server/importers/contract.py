"""What a reader of a foreign format is, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quartet_server.importers.faults import Faults
from quartet_server.importers.items import Item


class Reader(Protocol):
    """Reads one file or database, from where an earlier run ended.

    **Order.** `resume` may be called once, before `read`; `read` once. Between two items of `read`, `mark` says how far the
    items yielded so far have brought it: whoever has stored all of them may hand that to `resume` of a later run, which
    then yields what came after, and possibly again some of what came before.

    **Memory.** Bounded, whatever the size of the file, but for one record.

    **Failure.** A record that cannot be read is counted in the Faults the reader was made with, and left out. OSError is
    raised when the file itself cannot be read.
    """

    @property
    def name(self) -> str:
        """Under which its watermark is kept: the kind and what tells the file from others of that kind."""

    @property
    def size(self) -> int:
        """How much there is to read; bytes or rows."""

    @property
    def position(self) -> int:
        """How much of it has been read."""

    def resume(self, mark: str) -> None:
        """Go on where `mark` says; a mark that does not fit what is there now is ignored."""

    def read(self) -> Iterator[Item]:
        """Yield what there is."""

    def mark(self) -> str:
        """Return how far this is; empty when a later run must begin at the beginning."""

    def close(self) -> None:
        """Let go of what is open."""


@dataclass(frozen=True, slots=True)
class Options:
    """What readers are told besides the path.

    Attributes:
        me: Addresses, numbers or ids of the human whose data it is, in small letters.
        source: Only what that program left, where a format holds what several did.
    """

    me: frozenset[str] = frozenset()
    source: str = ""


Open = Callable[[Path, Options, Faults], Iterable[Reader]]
"""Returns the readers of a path, one after another. Raises WrongKindError, OSError."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A format.

    Attributes:
        name: As the command line has it.
        what: What the path should be, for people.
        open: Makes its readers.
    """

    name: str
    what: str
    open: Open
