"""Handing a call to an event loop from wherever one is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def hand_over(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    """Call `function` on `loop`: at once when that is the loop one runs on, soon from any other thread, never when it is closed."""
    if asyncio._get_running_loop() is loop:
        function(*arguments)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(function, *arguments)
