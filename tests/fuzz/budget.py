"""How long the fuzz runs, and from which seeds: the same cases every time, or new ones for as long as asked.

By default every test runs a fixed number of rounds from a fixed seed, so that two runs do the same. FUZZ_SEED=n starts
from another seed, FUZZ_SECONDS=n goes on with further seeds for about n seconds over all tests; a failure names its
seed, and FUZZ_SEED with that number begins with the round that failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from random import Random

SEED = int(os.environ.get("FUZZ_SEED", "1"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))


def rounds(usual: int, share: float) -> Iterator[tuple[int, Random]]:
    """Yield (seed, dice) of each round: `usual` of them, or as many as fit into `share` (0 to 1) of FUZZ_SECONDS."""
    until = time.monotonic() + SECONDS * share
    count = 0
    while count < usual or time.monotonic() < until:
        seed = SEED + count
        print(f"FUZZ_SEED={seed}")
        yield seed, Random(seed)
        count += 1
