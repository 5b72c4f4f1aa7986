"""The store's directory: copied, replaced, killed in between, damaged; and its keys of every length."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness.machines import MAP_SIZE, Feed, machine

from raftmeta.errors import Fault
from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.store import Store, StoreError
from raftmeta.store.layout import PREFIX, SLOT, main_of

KEY = pb.RangeRequest(key=b"k")


def value(under_test: Machine) -> bytes:
    return under_test.range(0, KEY).kvs[0].value


def snapshot_of(directory: Path, content: bytes, writes: int) -> Path:
    """Write a snapshot of a machine that put `content` `writes` times."""
    copy = directory / f"copy-{content.decode()}"
    copy.mkdir()
    with machine(directory / f"machine-{content.decode()}") as source:
        feed = Feed(source)
        for _ in range(writes):
            feed.put(b"k", content)
        assert source.snapshot(copy).at == (writes, 1)
    return copy


def test_a_snapshot_is_the_state_at_one_index(tmp_path: Path) -> None:
    with machine(tmp_path / "a") as source, machine(tmp_path / "b") as target:
        feed = Feed(source)
        for number in range(100):
            feed.put(b"k%d" % (number % 7), b"%d" % number)
        feed(pb.LeaseGrantRequest(ID=4, TTL=60))
        feed.put(b"k1", lease=4)
        copy = tmp_path / "copy"
        copy.mkdir()
        assert source.snapshot(copy).at == (102, 1)
        feed.put(b"later")
        steps = Feed(target).steps
        target.install(copy)
        assert not copy.exists()
        assert target.applied() == (102, 1)
        assert steps[-1].installed
        assert target.revisions(0) == (102, -1)
        assert target.hash_kv(0, 0)[0] == source.hash_kv(0, 102)[0]
        assert target.lease_keys(0, 4) == [b"k1"]
        follower = Feed(target)
        follower.put(b"later")
        assert target.hash_kv(0, 0) == source.hash_kv(0, 0)


def test_an_older_or_broken_snapshot_is_refused_and_nothing_changed(tmp_path: Path) -> None:
    old = snapshot_of(tmp_path, b"old", 2)
    broken = snapshot_of(tmp_path, b"broken", 9)
    data = (broken / "data.mdb").read_bytes()
    (broken / "data.mdb").write_bytes(data[: len(data) // 2])
    empty = tmp_path / "empty"
    empty.mkdir()
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for _ in range(3):
            feed.put(b"k", b"mine")
        for copy in (old, broken, empty):
            with pytest.raises(StoreError):
                under_test.install(copy)
        assert value(under_test) == b"mine"
        feed.put(b"k", b"still")
    with machine(tmp_path / "machine") as under_test:
        assert value(under_test) == b"still"


_KILLED = """
import os, pathlib, shutil, sys
from raftmeta.machine import Machine
from raftmeta.store import Store, store
left = int(sys.argv[3])
def dying(function):
    def step(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return function(*arguments, **options)
    return step
machine = Machine(Store(pathlib.Path(sys.argv[1]), map_size=1 << 28))
store._fsync = dying(store._fsync)
store.Environment = dying(store.Environment)
shutil.rmtree = dying(shutil.rmtree)
for name in ("rename", "replace", "write_text"):
    setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
machine.install(pathlib.Path(sys.argv[2]))
"""


def test_a_kill_at_any_step_of_an_install_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    seen: list[bytes] = []
    for step in range(1, 40):
        here = tmp_path / str(step)
        here.mkdir()
        with machine(here / "machine") as before:
            Feed(before).put(b"k", b"old")
        copy = snapshot_of(here, b"new", 2)
        code = subprocess.run(
            [sys.executable, "-c", _KILLED, str(here / "machine"), str(copy), str(step)], timeout=60, check=False
        ).returncode
        with machine(here / "machine") as after:
            seen.append(value(after))
            assert after.applied()[0] == {b"old": 1, b"new": 2}[seen[-1]]
            Feed(after).put(b"k", b"more")
        assert len(list((here / "machine").glob("state-*"))) == 1
        if code == 0:
            break
        assert code == 9
    else:
        pytest.fail("the install never finished")
    assert set(seen) == {b"old", b"new"}
    assert seen == sorted(seen, reverse=True), "once new, always new"
    assert seen[-1] == b"new"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda state: (state / "state-1" / "data.mdb").write_bytes(b"no database" * 9_000), "usable state"),
        (lambda state: (state / "state-1" / "data.mdb").write_bytes(b"short"), "usable state"),
        (lambda state: os.truncate(state / "state-1" / "data.mdb", 9_000), "bytes of"),
        (lambda state: (state / "state-1" / "data.mdb").unlink(), "data.mdb is missing"),
        (lambda state: (state / "CURRENT").write_text("../../etc"), "CURRENT says"),
        (lambda state: (state / "CURRENT").write_bytes(b"\xff\xfe"), "CURRENT cannot be read"),
        (lambda state: (state / "CURRENT").write_text("state-9"), "state-9 is missing"),
        (lambda state: (state / "CURRENT").unlink(), "no CURRENT file"),
    ],
)
def test_a_damaged_directory_is_refused_with_advice(tmp_path: Path, damage: object, says: str) -> None:
    with machine(tmp_path / "machine") as under_test:
        Feed(under_test).put(b"k")
    assert callable(damage)
    damage(tmp_path / "machine")
    with pytest.raises(StoreError, match=says) as error:
        Store(tmp_path / "machine", map_size=MAP_SIZE)
    assert "remove this member" in str(error.value)


def test_another_format_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "machine", map_size=MAP_SIZE)
    with store.write() as view:
        view.set_meta(b"format", b"99")
    store.close()
    with pytest.raises(StoreError, match="its format is b'99'"):
        Store(tmp_path / "machine", map_size=MAP_SIZE)


def test_a_failed_write_leaves_no_trace(tmp_path: Path) -> None:
    store = Store(tmp_path / "machine", map_size=MAP_SIZE)
    with pytest.raises(ZeroDivisionError), store.write() as view:  # noqa: PT012
        view.set_applied(5, 5)
        raise ZeroDivisionError
    with store.read() as seen:
        assert seen.applied() == (0, 0)
    store.close()
    with pytest.raises(StoreError, match="is closed"), store.read():
        pass


HEADS = [b"", b"a", b"p" * (PREFIX - 1), b"p" * PREFIX, b"p" * PREFIX + b"\0", b"p" * 511, b"p" * 512, b"q" * PREFIX]
LONG_KEYS = sorted({head + tail for head in HEADS for tail in (b"", b"\0", b"m", b"\xff" * 3, b"z" * 3_000)} - {b""})


def test_keys_of_every_length_come_in_order_whatever_the_range(tmp_path: Path) -> None:
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for key in [*LONG_KEYS[::2], *LONG_KEYS[1::2]]:
            feed.put(key, b"1")
        for key in LONG_KEYS[::3]:
            feed.put(key, b"2")
        bounds = [*LONG_KEYS[::4], LONG_KEYS[5] + b"\0", b"p", b"pz"]
        for revision in (0, len(LONG_KEYS) + 1):
            for start in bounds:
                for end in [*bounds, b"\0"]:
                    found = under_test.range(0, pb.RangeRequest(key=start, range_end=end, revision=revision))
                    wanted = [key for key in LONG_KEYS if start <= key and (end == b"\0" or key < end)]
                    assert [item.key for item in found.kvs] == wanted
        deleted = feed(pb.DeleteRangeRequest(key=b"p" * PREFIX + b"\0", range_end=b"q"))
        gone = [key for key in LONG_KEYS if b"p" * PREFIX + b"\0" <= key < b"q"]
        assert isinstance(deleted, pb.DeleteRangeResponse)
        assert deleted.deleted == len(gone) > 10
        feed(pb.CompactionRequest(revision=under_test.revisions(0)[0]))
        left = under_test.range(0, pb.RangeRequest(key=b"\0", range_end=b"\0"))
        assert [item.key for item in left.kvs] == [key for key in LONG_KEYS if key not in gone]


def test_readers_see_whole_steps_while_states_are_replaced_below_them(tmp_path: Path) -> None:
    copies = [snapshot_of(tmp_path, b"%d" % number, number) for number in range(2, 6)]
    failures: list[BaseException] = []
    seen: set[bytes] = set()
    stop = threading.Event()
    with machine(tmp_path / "machine") as under_test:
        Feed(under_test).put(b"k", b"1")

        def read() -> None:
            try:
                while not stop.is_set():
                    answer = under_test.range(0, KEY)
                    assert answer.kvs[0].version == answer.header.revision - 1
                    seen.add(answer.kvs[0].value)
            except BaseException as error:
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for copy in copies:
            under_test.install(copy)
        assert value(under_test) == b"5"
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert seen


def test_a_lease_may_be_refused_but_not_forgotten_over_a_restart(tmp_path: Path) -> None:
    with machine(tmp_path / "machine") as under_test:
        Feed(under_test)(pb.LeaseGrantRequest(ID=-8, TTL=50))
    with machine(tmp_path / "machine") as under_test:
        assert Feed(under_test).fault(pb.LeaseGrantRequest(ID=-8, TTL=50)) is Fault.LEASE_EXISTS
        assert list(under_test.leases(0)) == [-8]


def test_a_replaced_state_that_cannot_be_removed_is_left_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store", map_size=1 << 24)
    with store.write() as view:
        view.set_applied(5, 1)
    copy = tmp_path / "copy"
    copy.mkdir()
    store.copy(copy)

    def refuse(path: object, *, dir_fd: int | None = None) -> None:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("shutil.os.unlink", refuse)
        store.replace(copy)
    with store.read() as seen:
        assert seen.applied() == (5, 1)
    assert len(list((tmp_path / "store").glob("state-*"))) == 2
    store.close()
    Store(tmp_path / "store", map_size=1 << 24).close()
    assert len(list((tmp_path / "store").glob("state-*"))) == 1


@pytest.mark.parametrize("size", [0, 500, 2_000])
def test_a_copy_in_the_key_index_that_is_not_the_record_is_noticed(tmp_path: Path, size: int) -> None:
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for key in (b"k", b"other", b"gone", b"l" * 500):
            feed.put(key, b"v" * size)
        feed(pb.DeleteRangeRequest(key=b"gone"))
        assert [len(item.value) for item in under_test.range(0, pb.RangeRequest(key=b"a", range_end=b"z")).kvs] == [
            size
        ] * 3
    store = Store(tmp_path / "machine", map_size=MAP_SIZE)
    with store.read() as view:
        assert list(view.damaged(0)) == []
        table = view.tables.spaces[0].keys
        row = view.get(table, b"k")
    assert row is not None
    assert (len(row) > SLOT) == (size <= 500)
    with store._environment.env.begin(write=True) as txn:
        txn.put(b"k", row[:-1] + b"w" if size <= 500 else row + b"more", db=table.handle)
    with store.read() as view:
        assert [main_of(revision) for revision in view.damaged(0)] == [2]
    store.close()
