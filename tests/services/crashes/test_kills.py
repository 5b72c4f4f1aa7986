"""Kill -9 at any moment of writing, deleting, reclaiming and collecting: the tree is clean, no acknowledged byte is lost, no other one stays."""

from __future__ import annotations

import itertools
import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.contents import MIB, noise
from harness.fleet import ServedNode
from quartet import CallError, Client, Digest
from quartet.maintenance.v1 import maintenance_pb2

FLAGS = ("--objects-gc-every", "0", "--objects-scrub-every", "0", "--objects-touch-seconds", "0")
GRACE = ("--objects-gc-grace", "4")
"""Longer than a write takes on a busy machine, shorter than two lives: what one leaves is condemned, or goes, in the next."""
SHORT = ("--objects-gc-grace", "0.5")
"""When nobody writes any more."""
SIZES = (100, 5_000, 70_000, 300_000, 3 * MIB)


@dataclass
class Promises:
    """What the node has acknowledged, by path: the seed and size of the bytes, None for what is gone, or may be.

    Attributes:
        files: Path -> what was acknowledged last.
        writes: How many writes were acknowledged.
    """

    files: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    writes: int = 0


class Load:
    """Threads that write and delete below directories of their own until the node is gone."""

    def __init__(self, endpoint: str, promises: Promises, life: int) -> None:
        """Prepare; nothing runs before `start`."""
        self._endpoint = endpoint
        self._promises = promises
        self._life = life
        self._threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(3)]
        self._threads.append(threading.Thread(target=self._collect))
        self.rounds = 0
        self._gone = threading.Event()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way is repeated until it is answered."""
        self._gone.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _work(self, seed: int) -> None:
        dice, files = random.Random(self._life * 10 + seed), self._promises.files
        with Client(self._endpoint, timeout=20) as client, suppress(CallError):
            for number in itertools.takewhile(lambda _: not self._gone.is_set(), itertools.count()):
                top = f"/w{self._life}-{seed}-{number // 8}"
                action = dice.random()
                if number % 8 == 0:
                    client.files.mkdir(top, parents=True)
                if action < 0.5:
                    self._write(client, {f"{top}/f{dice.randrange(4)}": (dice.randrange(1000), dice.choice(SIZES))})
                elif action < 0.8:
                    some = {f"{top}/b{i}": (dice.randrange(1000), dice.choice(SIZES[:3])) for i in range(20)}
                    self._write(client, some)
                else:
                    below = [path for path in files if path.startswith(f"{top}/")]
                    files.update(dict.fromkeys(below))
                    client.files.delete(top, recursive=True, permanent=dice.random() < 0.7)
                    client.files.mkdir(top, parents=True)

    def _write(self, client: Client, wanted: dict[str, tuple[int, int]]) -> None:
        files = self._promises.files
        data = {path: noise(size, seed) for path, (seed, size) in wanted.items()}
        files.update(dict.fromkeys(data))  # from here on neither the old nor the new bytes are promised
        if len(data) == 1:
            for path, content in data.items():
                client.files.write_stream(path, content)
        else:
            for result in client.files.write_many(data):
                assert not result.failure.reason, result.failure
        files.update(wanted)
        self._promises.writes += len(wanted)

    def _collect(self) -> None:
        with Client(self._endpoint, timeout=20) as client:
            while not self._gone.wait(0.05):
                with suppress(CallError):  # the node is gone, or the observer of versions lags
                    for told in client.maintenance.collect(run=True):
                        self.rounds += told.done


def findings(client: Client, *, read: bool) -> list[str]:
    told = list(client.maintenance.check(read=read))
    assert told[-1].WhichOneof("told") == "summary"
    return [f"{one.finding.path}: {one.finding.problem}" for one in told if one.WhichOneof("told") == "finding"]


def verify(client: Client, promises: Promises) -> None:
    """Hold the node to what it has acknowledged."""
    kept = {path: said for path, said in promises.files.items() if said is not None}
    read = client.files.read_many(list(kept))
    wrong = [
        path for (path, (seed, size)), got in zip(kept.items(), read, strict=True) if got.data != noise(size, seed)
    ]
    assert wrong == []


def collected(client: Client) -> maintenance_pb2.Collection:
    """Collect until nothing waits any more; return the last round."""
    deadline = time.monotonic() + 60
    done = None
    while time.monotonic() < deadline:
        with suppress(CallError):  # the observer of versions lags
            [done] = [told.collection for told in client.maintenance.collect(run=True) if told.done]
            if not (done.condemned or done.waiting or done.young or done.swept):
                return done
        time.sleep(0.1)
    pytest.fail(f"garbage stays: {done}")


def test_kills_at_any_moment_leave_a_clean_tree_every_acknowledged_byte_and_no_garbage(tmp_path: Path) -> None:
    node, promises, dice = ServedNode(tmp_path, "n1", *FLAGS), Promises(), random.Random(7)
    rounds, garbage, load = 0, list[Digest](), None
    try:
        for life in range(3):
            node.start(*GRACE)
            if load is not None:
                load.join()  # what was under way when the node was killed is repeated, and answered, in this life
                rounds += load.rounds
            with Client(node.endpoint, timeout=30) as client:
                assert findings(client, read=False) == []
                verify(client, promises)
                garbage.append(client.objects.put(noise(100_000, 10_000 + life)))  # to which nobody will refer
            load = Load(node.endpoint, promises, life)
            before = promises.writes
            load.start()
            deadline = time.monotonic() + 30
            while promises.writes < before + 25 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(dice.random() * 0.3)
            node.kill()
            node.ended()
            load.stop()
            assert promises.writes >= before + 25
        node.start(*SHORT)
        assert load is not None
        load.join()
        assert rounds + load.rounds > 0
        with Client(node.endpoint, timeout=30) as client:
            verify(client, promises)
            assert findings(client, read=True) == []
            left = collected(client)
            assert left.examined == left.reached > 0
            assert client.objects.stat_many(garbage) == ([], garbage)
            assert findings(client, read=True) == []
            verify(client, promises)
    finally:
        if node.process is not None and node.process.poll() is None:
            node.kill()
            node.ended()
