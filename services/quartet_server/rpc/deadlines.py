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

    def beyond(self, remaining: float | None) -> float | None:
        """Return the seconds after which to end a unary call whose caller left it `remaining` (None: said nothing).

        None when its caller's own deadline is sooner than the maximum: the server ends the call when that passes.
        """
        if remaining is None:
            return self.default
        return self.maximum if remaining > self.maximum else None


class Deadline:
    """Ends the work inside `async with` after `seconds` and raises `DeadlinePassed`."""

    __slots__ = ("_seconds", "_timeout")

    def __init__(self, seconds: float) -> None:
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
