"""Handing a call to an event loop from wherever one is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def nothing_waits(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell, on the loop, whether what is put off now would come next anyway: then it had better be done at once.

    Loops that do not show what waits always have something waiting.
    """
    ready = getattr(loop, "_ready", None)
    return ready is not None and not ready


def hand_over(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call `function` on `loop`: at once when that is the loop one runs on, soon from any other thread, never when it is closed."""
    if asyncio._get_running_loop() is loop:
        function(*arguments)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)
