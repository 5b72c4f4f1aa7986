"""The garbage collector of a process that has started and goes on to serve."""

from __future__ import annotations

import gc

_THRESHOLDS = (50_000, 20, 20)  # garbage without cycles needs no collector: it took 4 % of the CPU


def collect_seldom() -> None:
    """Take what is there now for what stays, and look for cycles among the rest seldom."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
