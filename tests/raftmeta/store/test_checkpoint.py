"""What the disk holds after the power failed is any mixture of old and new pages; the store opens at its checkpoint."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest
from harness.machines import MAP_SIZE, Feed

from raftmeta.consensus.contract import Entry
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.store import Store, StoreError
from raftmeta.store.checkpoint import CheckpointError, CheckpointFile

NEVER = 3600.0
PAGE = 4096
STATE = Path("state-1")


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[tuple[Machine, Store]]:
    """Open a machine that makes a checkpoint only when it is told to."""
    store = Store(directory, map_size=MAP_SIZE, interval=NEVER)
    machine = Machine(store)
    try:
        yield machine, store
    finally:
        machine.close()


def step(feed: Feed, dice: random.Random) -> list[Entry]:
    """Apply one step of a few entries; return them."""
    index, entries = feed.machine.applied()[0], []
    for _ in range(dice.randint(1, 4)):
        index += 1
        key = b"k%d" % dice.randrange(40)
        kind = dice.random()
        if kind < 0.8:
            request: pb.PutRequest | pb.DeleteRangeRequest | pb.CompactionRequest = pb.PutRequest(
                key=key, value=dice.randbytes(dice.choice([8, 300, 9_000]))
            )
        elif kind < 0.95:
            request = pb.DeleteRangeRequest(key=key, range_end=b"k3")
        else:
            request = pb.CompactionRequest(revision=max(feed.machine.revisions(0)[0] - 5, 1))
        entries.append(feed.entry_at(index, request))
    feed.machine.apply(entries)
    if dice.random() < 0.4:
        feed.machine._store.flush()
    return entries


def image(directory: Path) -> dict[str, bytes]:
    """Return what a member's state files hold."""
    return {name: (directory / STATE / name).read_bytes() for name in ("data.mdb", "checkpoint")}


def mixture(old: bytes, new: bytes, dice: random.Random) -> bytes:
    """Return a file of which an unknown part reached the disk: each page, and the length, is old or new."""
    pages = []
    for at in range(0, dice.choice([max(len(old), PAGE), len(new)]), PAGE):
        before = old[at : at + PAGE].ljust(PAGE, b"\0")
        pages.append(dice.choice([before, new[at : at + PAGE].ljust(PAGE, b"\0")]))
    return b"".join(pages)


def put_down(directory: Path, data: bytes, checkpoint: bytes) -> None:
    (directory / STATE).mkdir(parents=True)
    (directory / "CURRENT").write_text(f"{STATE}\n")
    (directory / STATE / "data.mdb").write_bytes(data)
    (directory / STATE / "checkpoint").write_bytes(checkpoint)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_part_of_later_commits_reached_the_disk_the_checkpoint_is_whole(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        synced = image(tmp_path / "machine")
        for _ in range(dice.randint(1, 4)):  # pages are free to be reused after some checkpoints only
            for _ in range(dice.randint(1, 30)):
                step(feed, dice)
            store.checkpoint()
        synced = image(tmp_path / "machine")
        durable, hashed = store.durable(), machine.hash_kv(0, 0)
        assert durable == machine.applied()
        later = [entry for _ in range(dice.randint(0, 60)) for entry in step(feed, dice)]
        unsynced = image(tmp_path / "machine")
        assert store.durable() == durable
        finally_hashed = machine.hash_kv(0, 0)
    for attempt in range(8):
        crashed = tmp_path / f"crashed-{attempt}"
        put_down(crashed, mixture(synced["data.mdb"], unsynced["data.mdb"], dice), unsynced["checkpoint"])
        with opened(crashed) as (machine, store):
            assert machine.applied() == store.durable() == durable
            assert machine.hash_kv(0, 0) == hashed
            machine.apply(later)
            assert machine.hash_kv(0, 0) == finally_hashed
        shutil.rmtree(crashed)


@pytest.mark.parametrize("seed", range(6))
def test_a_power_failure_while_a_checkpoint_is_made_leaves_the_old_or_the_new_one(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        hashes = {}
        for _ in range(3):
            for _ in range(10):
                step(feed, dice)
            store.checkpoint()
        before = image(tmp_path / "machine")
        hashes[machine.applied()] = machine.hash_kv(0, 0)
        for _ in range(10):
            step(feed, dice)
        store.checkpoint()
        hashes[machine.applied()] = machine.hash_kv(0, 0)
        after = image(tmp_path / "machine")
    seen = set()
    for attempt in range(12):
        # the data is synced before the slot is written: the slot may be torn only when all of the data is there
        torn = attempt % 3
        data = mixture(before["data.mdb"], after["data.mdb"], dice) if torn == 0 else after["data.mdb"]
        slot = before["checkpoint"] if torn == 0 else after["checkpoint"]
        if torn == 1:
            cut = dice.randrange(len(slot))
            slot = slot[:cut] + before["checkpoint"][cut:]
        crashed = tmp_path / f"crashed-{attempt}"
        put_down(crashed, data, slot)
        with opened(crashed) as (machine, _):
            seen.add(machine.applied())
            assert machine.hash_kv(0, 0) == hashes[machine.applied()]
        shutil.rmtree(crashed)
    assert seen == set(hashes)


_KILLED = """
import os, pathlib, sys, time
from harness.machines import Feed
from raftmeta.machine import Machine
from raftmeta.store import Store
store = Store(pathlib.Path(sys.argv[1]), map_size=1 << 28, interval=float(sys.argv[2]))
feed = Feed(Machine(store))
for number in range(int(sys.argv[3])):
    feed.put(b"k%d" % (number % 50), b"v%d" % number)
while float(sys.argv[2]) == 0.0 and store.durable()[0] == 0:  # the writes were quicker than the first checkpoint
    time.sleep(0.001)
print(store.durable()[0], flush=True)
os._exit(9)
"""


@pytest.mark.parametrize(("interval", "writes"), [(0.0, 300), (NEVER, 20)])
def test_a_killed_process_loses_nothing_that_was_durable(tmp_path: Path, interval: float, writes: int) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "machine"), str(interval), str(writes)],
        timeout=60,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert killed.returncode == 9
    durable = int(killed.stdout)
    with opened(tmp_path / "machine") as (machine, _):
        index = machine.applied()[0]
        assert durable <= index <= writes
        assert index == 0 if interval == NEVER else index > 0
        for number in range(max(index - 50, 0), index):
            found = machine.range(0, pb.RangeRequest(key=b"k%d" % (number % 50)))
            assert found.kvs[0].value == b"v%d" % number


def test_an_orderly_end_keeps_everything_and_a_copy_is_covered_by_a_checkpoint(tmp_path: Path) -> None:
    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        for number in range(5):
            feed.put(b"%d" % number)
        assert store.durable() == (0, 0)
        (tmp_path / "copy").mkdir()
        assert machine.snapshot(tmp_path / "copy").at == machine.durable() == (5, 1)
        feed.put(b"last")
        assert machine.durable() == (5, 1)
    with opened(tmp_path / "machine") as (machine, _):
        assert machine.applied() == machine.durable() == (6, 1)


def test_a_state_that_replaced_another_is_durable_at_once(tmp_path: Path) -> None:
    with opened(tmp_path / "source") as (machine, _):
        Feed(machine).put(b"k", b"new")
        (tmp_path / "copy").mkdir()
        machine.snapshot(tmp_path / "copy")
    with opened(tmp_path / "machine") as (machine, store):
        machine.install(tmp_path / "copy")
        assert store.durable() == machine.applied() == (1, 1)


def test_pages_are_reused_once_two_checkpoints_have_passed(tmp_path: Path) -> None:
    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        sizes = []
        for _ in range(40):
            for _ in range(20):
                feed.put(b"same", b"x" * 3_000)
                feed(pb.CompactionRequest(revision=machine.revisions(0)[0]))
            store.checkpoint()
            sizes.append(store.file_size())
        assert sizes[-1] < 2 * sizes[9]


@pytest.mark.parametrize("where", ["data", "checkpoint"])
def test_after_a_failed_checkpoint_nothing_more_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "input/output error") if where == "checkpoint" else lmdb.DiskError("input/output error")

    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        feed.put(b"k", b"durable")
        store.checkpoint()
        feed.put(b"k", b"lost")
        with monkeypatch.context() as broken:
            if where == "checkpoint":
                broken.setattr("raftmeta.store.checkpoint.os.fdatasync", fail)
            else:
                broken.setattr("raftmeta.store.environment.View.applied", fail)
            with pytest.raises((OSError, lmdb.Error)):
                store.checkpoint()
        with pytest.raises(StoreError, match="could not be made durable"):
            feed.put(b"k", b"refused")
        assert store.durable() == (1, 1)


def test_a_state_is_open_in_one_place_only(tmp_path: Path) -> None:
    with opened(tmp_path / "machine"), pytest.raises(StoreError, match="open in another process"):
        Store(tmp_path / "machine", map_size=MAP_SIZE)
    Store(tmp_path / "machine", map_size=MAP_SIZE).close()


def test_a_flip_in_any_byte_leaves_the_other_copy_and_a_torn_slot_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    file = CheckpointFile.create(path, b"first" * 20)
    file.save(b"other" * 20)
    file.close()
    whole = path.read_bytes()
    copy = len(whole) // 4
    for at in range(124):
        damaged = bytearray(whole)
        for number, found in enumerate((b"other", b"first", b"first", None)):  # the newest slot is written first
            damaged[number * copy + at] ^= 0x40
            path.write_bytes(damaged)
            if found is None:
                with pytest.raises(CheckpointError, match="no intact checkpoint"):
                    CheckpointFile.open(path)
            else:
                file = CheckpointFile.open(path)
                assert file.metas == found * 20
                file.close()
    path.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(CheckpointError):
        CheckpointFile.open(path)


@pytest.mark.parametrize("seed", range(4))
def test_a_flip_in_the_newest_checkpoint_does_not_send_a_killed_member_back_to_pages_that_are_gone(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    with opened(tmp_path / "machine") as (machine, store):
        feed = Feed(machine)
        for _ in range(4):
            for _ in range(20):
                step(feed, dice)
            store.checkpoint()
        durable, hashed = store.durable(), machine.hash_kv(0, 0)
        for _ in range(20):
            step(feed, dice)
        killed = image(tmp_path / "machine")
    slots = bytearray(killed["checkpoint"])
    newest = max(range(0, len(slots), len(slots) // 4), key=lambda at: slots[at + 16])
    slots[newest + dice.randrange(100)] ^= 0x10
    put_down(tmp_path / "rotten", killed["data.mdb"], bytes(slots))
    with opened(tmp_path / "rotten") as (machine, store):
        assert (store.durable(), machine.hash_kv(0, 0)) == (durable, hashed)
