"""How long a call may take: what the caller said, within what the server allows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType

from quartet_server.errors import DeadlinePassed


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits for the calls of Quartet's own services.

    Attributes:
        default: Seconds for a unary call whose caller named no deadline.
        maximum: Seconds for a unary call, whatever its caller named. Streams live as long as their caller likes.
    """

    default: float = 30.0
    maximum: float = 300.0

    def of(self, remaining: float | None) -> Deadline:
        """Return the deadline of a unary call whose caller left it `remaining` seconds (None: said nothing).

        A caller's own deadline below the maximum needs no timer here: gRPC ends the call when it passes.
        """
        if remaining is None:
            return Deadline(self.default)
        return Deadline(self.maximum if remaining > self.maximum else None)


class Deadline:
    """Ends the work inside `async with` after `seconds` and raises `DeadlinePassed`; None waits for ever."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float | None) -> None:
        """Prepare; the clock starts at `__aenter__`."""
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        """Start the clock."""
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; raise `DeadlinePassed` when the work was ended by it."""
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise DeadlinePassed(
                f"the call took more than the server's {self._seconds:g} s", seconds=f"{self._seconds:g}"
            ) from None
