"""What is buffered is seen as if it were in LMDB already: by every reader exactly as it was at the step it began with."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import lmdb
import pytest
from harness.machines import MAP_SIZE

from raftmeta.store import Store
from raftmeta.store.environment import StoreError, StoreFull
from raftmeta.store.view import View

NEVER = 3600.0
Rows = dict[bytes, bytes]


def write(store: Store, changes: dict[bytes, bytes | None]) -> None:
    with store.write() as view:
        for name, value in changes.items():
            view.set_meta(name, value)


def check(view: View, model: Rows, dice: random.Random) -> None:
    """Compare everything a view shows of the bookkeeping table with what it should show."""
    table = view.tables.bookkeeping
    assert dict(view.rows(table, b"k")) == model
    names = sorted(model)
    for _ in range(3):
        first, above = sorted((b"k%02d" % dice.randrange(40), b"k%02d" % dice.randrange(40)))
        assert [n for n, _ in view.rows(table, first, above) if n < above] == [n for n in names if first <= n < above]
        assert view.get(table, first) == model.get(first)


@pytest.mark.parametrize("seed", range(10))
def test_a_view_shows_its_own_step_whatever_is_written_and_flushed_after_it(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    store = Store(tmp_path, map_size=MAP_SIZE, interval=NEVER)
    model: Rows = {}
    views: list[tuple[View, Rows]] = []
    for number in range(150):
        changes = {
            b"k%02d" % dice.randrange(40): None if dice.random() < 0.3 else b"%d" % number
            for _ in range(dice.randrange(1, 6))
        }
        with store.write() as step:
            for _ in range(2):  # a row may change twice in a step
                for name, value in changes.items():
                    step.set_meta(name, value)
            model = {name: value for name, value in (model | changes).items() if value is not None}
            check(step, model, dice)
        if dice.random() < 0.2:
            with pytest.raises(ZeroDivisionError):
                broken(store, dice)
        if dice.random() < 0.2:
            store.flush()
        if dice.random() < 0.1:
            store.checkpoint()
        views.append((store._environment.read(), model))
        if len(views) > 20:
            view, _ = views.pop(dice.randrange(20))
            view.txn.abort()
        for view, then in dice.sample(views, min(len(views), 3)):
            check(view, then, dice)
    for view, then in views:
        check(view, then, dice)
        view.txn.abort()
    store.close()
    reopened = Store(tmp_path, map_size=MAP_SIZE, interval=NEVER)
    with reopened.read() as view:
        check(view, model, dice)
    reopened.close()


def broken(store: Store, dice: random.Random) -> None:
    """Write a step that fails on its way."""
    with store.write() as view:
        for _ in range(3):
            view.set_meta(b"k%02d" % dice.randrange(40), b"never")
        raise ZeroDivisionError


def test_readers_in_other_threads_see_whole_steps_while_buffers_are_flushed(tmp_path: Path) -> None:
    store = Store(tmp_path, map_size=MAP_SIZE, interval=0.0)
    names = [b"k%02d" % number for number in range(20)]
    write(store, dict.fromkeys(names, b"0"))
    stop, failures = threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            before = 0
            while not stop.is_set():
                with store.read() as view:
                    rows = list(view.rows(view.tables.bookkeeping, b"k"))
                    assert view.meta(b"k07") == rows[0][1]
                assert [name for name, _ in rows if len(name) == 3] == names
                numbers = {int(value) for name, value in rows if len(name) == 3}
                assert len(numbers) == 1
                assert len(rows) == 20 + numbers.pop() % 2
                assert int(rows[0][1]) >= before
                before = int(rows[0][1])
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 600):
        value = b"%d" % number
        write(store, {**dict.fromkeys(names, value), b"k071": value if number % 2 else None})
        if number % 7 == 0:
            store.flush()
    stop.set()
    for reader in readers:
        reader.join()
    store.close()
    assert failures == []


@pytest.mark.parametrize("refusal", [lmdb.MapFullError("the map is full"), lmdb.DiskError("room was found in between")])
def test_what_finds_no_room_stays_readable_and_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: lmdb.Error
) -> None:
    store = Store(tmp_path, map_size=MAP_SIZE, interval=NEVER)
    write(store, {b"k1": b"1"})

    def full(*_: object) -> None:
        raise refusal

    with monkeypatch.context() as crowded:
        crowded.setattr("raftmeta.store.buffer.Buffer.write", full)
        with pytest.raises(StoreFull):
            store.flush()
        for _ in range(2):
            with pytest.raises(StoreFull):
                write(store, {b"k1": b"2"})
        with store.read() as view:
            assert view.meta(b"k1") == b"1"
    write(store, {b"k1": b"3"})
    with store.read() as view:
        assert view.meta(b"k1") == b"3"
    store.checkpoint()
    with store.read() as view:
        assert view.txn.get(b"k1", None, view.tables.bookkeeping.handle) == b"3"
    store.close()


def test_a_device_that_refuses_again_and_again_is_not_taken_for_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path, map_size=MAP_SIZE, interval=NEVER)
    write(store, {b"k1": b"1"})

    def failing(*_: object) -> None:
        raise lmdb.DiskError("Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("raftmeta.store.buffer.Buffer.write", failing)
        for _ in range(5):
            with pytest.raises(StoreFull):
                store.flush()
        with pytest.raises(lmdb.DiskError):
            store.flush()
    with pytest.raises(StoreError):
        write(store, {b"k1": b"2"})
    store.close()


def test_much_that_is_buffered_is_flushed_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftmeta.store.environment.HIGH_WATER", 100_000)
    store = Store(tmp_path, map_size=MAP_SIZE, interval=NEVER)
    for number in range(100):
        write(store, {b"k%d" % number: b"v" * 10_000})
        with store.read() as view:
            assert view.bytes_in_use() < 150_000 + 2 * 12_288 * (number + 1)
            assert sum(buffer.size for buffer in view._buffers) < 230_000
    store.close()
