"""What a stream of idempotent messages sends, from threads: what has no answer yet is sent again when a node is lost."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Unanswered(Generic[T]):
    """Messages on their way. One thread reads answers, those of gRPC take messages.

    Attributes:
        error: What the source raised, if it did.
    """

    def __init__(self, source: Iterable[T], limit: int) -> None:
        """Send what `source` gives, at most `limit` messages ahead of the answers."""
        self.error: BaseException | None = None
        self._source = iter(source)
        self._limit = limit
        self._waiting: deque[T] = deque()
        self._first = 0  # number of the first that waits
        self._ended = False
        self._streams = 0
        self._changed = threading.Condition()
        self._taking = threading.Lock()

    def begin(self) -> Iterator[T]:
        """Return the messages of a new stream: those without an answer, then those that follow. An older stream ends."""
        with self._changed:
            self._streams += 1
            stream = self._streams
            self._changed.notify_all()
        return self._messages(stream)

    def answered(self, count: int) -> None:
        """Forget the first `count` messages."""
        with self._changed:
            for _ in range(min(count, len(self._waiting))):
                self._waiting.popleft()
                self._first += 1
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self._streams += 1
            self._changed.notify_all()

    @property
    def done(self) -> bool:
        """Whether everything was sent and answered."""
        with self._changed:
            return self._ended and not self._waiting

    def _messages(self, stream: int) -> Iterator[T]:
        at = self._first
        while True:
            with self._changed:
                while stream == self._streams and self._first + self._limit <= at:
                    self._changed.wait()
                if stream != self._streams:
                    return
                place = at - self._first
                known = place < len(self._waiting)
                if known:
                    message = self._waiting[place]
                elif self._ended:
                    return
            if not known:
                self._take(at)
                continue
            yield message
            at += 1

    def _take(self, at: int) -> None:
        """Take message number `at` from the source, unless another stream has."""
        with self._taking:
            if self._ended or at < self._first + len(self._waiting):
                return
            try:
                message = next(self._source)
            except StopIteration:
                self._ended = True
            except BaseException as error:  # noqa: BLE001 - raised again where answers are read
                self.error, self._ended = error, True
            else:
                with self._changed:
                    self._waiting.append(message)
