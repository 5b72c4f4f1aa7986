"""Brings what readers yield into the ledgers: batch after batch, while the next is read; what was stored is marked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from quartet_server.importers import wire
from quartet_server.importers.contract import Reader
from quartet_server.importers.faults import UnfitError
from quartet_server.importers.items import Item, Session
from quartet_server.importers.ledger import Ledger
from quartet_server.importers.sending import Batch, Sender
from quartet_server.importers.tally import Tally
from quartet_server.importers.text import NAME, fit_id

BATCH = 500
"""Events of a batch, unless something else is asked for."""
_BYTES = 2 << 20
_SESSIONS = 200
_MARKED = 5.0
"""Seconds after which it is marked how far a reader has come, when it takes longer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be imported.

    Attributes:
        kind: Name of the format.
        batch: Events of a batch, 1 to 1,000.
        limit: Events after which it ends; 0 for none.
        since: Only what happened since then, in microseconds; None for all.
        full: Begin at the beginning, whatever was imported before.
    """

    kind: str
    batch: int = BATCH
    limit: int = 0
    since: int | None = None
    full: bool = False


@dataclass(slots=True)
class _Place:
    """How far a reader has come: its newest event, and when that was marked last."""

    latest: int | None = None
    marked: float = field(default_factory=float)


class Loader:
    """Imports what readers yield; without a ledger it only reads, and counts."""

    def __init__(
        self,
        ledger: Ledger | None,
        plan: Plan,
        tally: Tally,
        advance: Callable[[int], None] = lambda size: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Import as `plan` says; `advance` is told how much was read, in the readers' own measure."""
        self._ledger, self._plan, self._tally = ledger, plan, tally
        self._advance, self._clock = advance, clock
        self._batch = Batch()
        self._sending: Future[None] | None = None

    def run(self, readers: Iterable[Reader]) -> None:
        """Import all there is. Raises CallError, when the ledgers cannot be reached; OSError, when a file cannot be read."""
        marks = self._marks()
        with ThreadPoolExecutor(1, thread_name_prefix="quartet-import") as pool:
            for reader in readers:
                name = fit_id(reader.name, NAME)
                if name in marks:
                    reader.resume(marks[name])
                self._tally.files += 1
                try:
                    done = self._read(reader, name, pool)
                finally:
                    reader.close()
                if not done:
                    break
            self._hand_on(pool)
            if self._sending is not None:
                self._sending.result()

    def _marks(self) -> dict[str, str]:
        if self._ledger is None or self._plan.full:
            return {}
        return {one.adapter: one.last_event_id for one in self._ledger.watermarks(f"{self._plan.kind}:")}

    def _read(self, reader: Reader, name: str, pool: ThreadPoolExecutor) -> bool:
        """Read what a reader yields; tell whether there may be more to read behind it."""
        place = _Place(marked=self._clock())
        before = reader.position
        for item in reader.read():
            self._take(item, place)
            self._advance(reader.position - before)
            before = reader.position
            ended = bool(self._plan.limit) and self._tally.events >= self._plan.limit
            if self._full() or ended:
                if ended or self._clock() - place.marked >= _MARKED:
                    self._mark(reader, name, place)
                self._hand_on(pool)
            if ended:
                return False
        self._advance(reader.size - before)
        self._mark(reader, name, place)
        return True

    def _take(self, item: Item, place: _Place) -> None:
        """Add an item to the batch."""
        since = self._plan.since
        if isinstance(item, Session):
            if since is None or item.updated_at >= since:
                self._batch.add_session(wire.session(item), final=item.final)
            return
        if since is not None and item.timestamp < since:
            self._tally.faults.skip()
            return
        self._tally.events += 1
        place.latest = item.timestamp if place.latest is None else max(place.latest, item.timestamp)
        try:
            self._batch.add(wire.event(item), item)
        except UnfitError as error:
            self._tally.faults.add(item.id, error)

    def _full(self) -> bool:
        batch = self._batch
        return len(batch.events) >= self._plan.batch or batch.size >= _BYTES or len(batch.sessions) >= _SESSIONS

    def _mark(self, reader: Reader, name: str, place: _Place) -> None:
        """Have it marked how far a reader is, once the batch is stored; not when older events were left out."""
        place.marked = self._clock()
        mark = reader.mark()
        if mark and place.latest is not None and self._plan.since is None:
            self._batch.marks[name] = (place.latest, mark)

    def _hand_on(self, pool: ThreadPoolExecutor) -> None:
        """Send the batch, when the one before it is stored; read on meanwhile."""
        batch, self._batch = self._batch, Batch()
        if self._ledger is None:
            return
        if self._sending is not None:
            self._sending.result()
        sender = Sender(self._ledger, self._tally)
        self._sending = pool.submit(sender.send, batch)
