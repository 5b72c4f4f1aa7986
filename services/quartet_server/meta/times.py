"""Times of records."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp


def timestamps(clock: Callable[[], float]) -> Callable[[], Timestamp]:
    """Return a function that tells the time of `clock`, in seconds since 1970, to the microsecond."""

    def now() -> Timestamp:
        seconds, micros = divmod(round(clock() * 1_000_000), 1_000_000)
        return Timestamp(seconds=seconds, nanos=micros * 1000)

    return now
