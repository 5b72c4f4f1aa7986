"""Times of other programs, in whatever unit they keep them, as microseconds since 1970."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from quartet_server.importers.faults import UnfitError

APPLE = 978_307_200
"""Seconds from 1970 to 2001, where Apple's clocks begin."""
_EARLIEST, _LATEST = -62_135_596_800_000_000, 253_402_300_799_999_999
_SECONDS, _MILLIS, _MICROS = 10**11, 10**14, 10**17


def unix(value: object) -> int:
    """Return microseconds from a count since 1970 whose unit its size tells: 10**11 seconds are the year 5138, as
    milliseconds 1973; then microseconds, then nanoseconds. Raises UnfitError.
    """
    number = _number(value)
    size = abs(number)
    if size < _SECONDS:
        return _checked(number * 1_000_000)
    if size < _MILLIS:
        return _checked(number * 1_000)
    return _checked(number if size < _MICROS else number / 1_000 if isinstance(number, float) else number // 1_000)


def apple(value: object) -> int:
    """Return microseconds from Apple's count since 2001: nanoseconds since High Sierra, seconds before. Raises UnfitError."""
    number = _number(value)
    if not number:
        raise UnfitError("it has no date")
    micros = number * 1_000_000 if abs(number) < _SECONDS else number // 1_000
    return _checked(micros + APPLE * 1_000_000)


def iso(value: object) -> int:
    """Return microseconds from an RFC 3339 text; without an offset it is UTC. Raises UnfitError."""
    if not isinstance(value, str):
        raise UnfitError("it has no time")
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        raise UnfitError(f"{value[:40]!r} is no time") from None
    return of(moment)


def of(moment: datetime) -> int:
    """Return microseconds from a datetime; without an offset it is UTC. Raises UnfitError."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        apart = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        raise UnfitError("its time is out of range") from None
    return _checked((apart.days * 86_400 + apart.seconds) * 1_000_000 + apart.microseconds)


def _number(value: object) -> int | float:
    if isinstance(value, str):
        text = value[:60]
        try:
            value = int(text) if len(text) < 40 and "." not in text else float(text)
        except ValueError:
            raise UnfitError(f"{text!r} is no time") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UnfitError("it has no time")
    return value


def _checked(micros: float) -> int:
    if not _EARLIEST <= micros <= _LATEST:
        raise UnfitError("its time is not between the years 1 and 9999")
    return round(micros)
