"""Every kind of fault there is: its name, where it is possible, how long it lasts, what does it."""

from __future__ import annotations

from collections.abc import Callable

from faults.injections import network
from faults.injections.catching import Away
from faults.injections.certificates import Certificates
from faults.injections.damage import LogRot, StoreRot, TornTail
from faults.injections.disks import ClockJump, DiskTrouble, FailedSync, PowerLoss, crawl, fill, some
from faults.injections.leadership import Transfer
from faults.injections.membership import Grow, Replace
from faults.injections.network import Disturbance, Resets
from faults.injections.processes import (
    Kill,
    Pause,
    RollingRestart,
    a_follower,
    a_majority,
    everyone,
    one,
    the_leader,
)
from faults.plan import Kind
from faults.scene import Injection

Maker = Callable[[], Injection]
ANY, SEVERAL, LARGE = frozenset({1, 3, 5}), frozenset({3, 5}), frozenset({5})

_ROWS: tuple[tuple[str, frozenset[int], tuple[float, float], float, Maker], ...] = (
    ("kill-one", SEVERAL, (0.5, 4.0), 1.5, lambda: Kill(one)),
    ("kill-leader", SEVERAL, (0.8, 4.0), 1.5, lambda: Kill(the_leader)),
    ("kill-majority", SEVERAL, (0.3, 3.0), 2.5, lambda: Kill(a_majority)),
    ("kill-all", ANY, (0.0, 1.0), 2.5, lambda: Kill(everyone)),
    ("pause-leader", SEVERAL, (1.0, 6.0), 0.5, lambda: Pause(the_leader)),
    ("pause-follower", SEVERAL, (1.0, 6.0), 0.5, lambda: Pause(a_follower)),
    ("rolling-restart", SEVERAL, (0.0, 0.0), 8.0, RollingRestart),
    (
        "cut-one-way", SEVERAL, (1.0, 6.0), 1.0,
        lambda: Disturbance(network.cut_or_hold, network.mute_or_deaf, "cut", "held"),
    ),
    (
        "cut-two-ways", SEVERAL, (1.0, 6.0), 1.0,
        lambda: Disturbance(network.cut_or_hold, network.around_a_minority, "cut", "held"),
    ),
    ("delay", SEVERAL, (1.0, 6.0), 0.5, lambda: Disturbance(network.slow, network.everywhere, "delayed")),
    ("loss", SEVERAL, (1.0, 6.0), 0.5, lambda: Disturbance(network.lossy, network.everywhere, "lost")),
    ("reorder", SEVERAL, (1.0, 6.0), 0.5, lambda: Disturbance(network.shuffled, network.everywhere, "overtaken")),
    ("reset", SEVERAL, (0.5, 3.0), 0.5, Resets),
    ("certificates", SEVERAL, (0.2, 1.0), 2.0, Certificates),
    ("transfer", SEVERAL, (1.0, 3.0), 0.5, Transfer),
    ("member-add-promote-remove", SEVERAL, (0.2, 2.0), 4.0, Grow),
    ("member-replace", SEVERAL, (0.2, 2.0), 4.0, Replace),
    ("snapshot-install", SEVERAL, (1.0, 3.0), 6.0, Away),
    ("rot-log", SEVERAL, (0.0, 0.0), 5.0, LogRot),
    ("rot-store", SEVERAL, (0.0, 0.0), 5.5, StoreRot),
    ("torn-tail", ANY, (0.0, 0.0), 4.5, TornTail),
    ("slow-sync", ANY, (1.0, 5.0), 1.0, lambda: DiskTrouble(some, crawl, "syncs_delayed")),
    ("failed-sync", ANY, (0.3, 2.0), 2.0, FailedSync),
    ("full-disk", ANY, (1.0, 4.0), 1.5, lambda: DiskTrouble(some, fill, "writes_refused")),
    ("clock-jump", ANY, (0.5, 3.0), 0.5, ClockJump),
    ("power-loss", ANY, (0.3, 1.5), 3.5, PowerLoss),
)  # fmt: skip
_FRAMES = {"loss", "reorder"}
"""What is done to single frames, which nobody sees under TLS."""
_NETWORK = {"cut-one-way", "cut-two-ways", "delay", "loss", "reorder", "reset"}
KINDS = {
    name: Kind(
        name,
        sizes,
        dwell,
        recovery,
        weather=name not in _NETWORK,
        plain=name != "certificates",
        secure=name not in _FRAMES,
    )
    for name, sizes, dwell, recovery, _ in _ROWS
}
MAKERS: dict[str, Maker] = {row[0]: row[4] for row in _ROWS}
