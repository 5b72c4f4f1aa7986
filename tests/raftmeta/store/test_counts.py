"""Ranges are counted by blocks as they would be by walking through them."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest
from harness.machines import Feed, machine

from raftmeta.etcd import rpc_pb2 as pb
from raftmeta.machine import Machine
from raftmeta.store.layout import PREFIX

KEYS = [
    *(b"%02d" % number for number in range(60)),
    *(b"p" * (PREFIX - 1) + b"%d" % number for number in range(8)),
    *(b"p" * PREFIX + b"%d" % number for number in range(8)),
    *(b"p" * 600 + b"%d" % number for number in range(8)),
    *(b"q%d" % number for number in range(8)),
]


def check(under_test: Machine, alive: set[bytes], dice: random.Random) -> None:
    """Compare counts of random ranges."""
    for _ in range(6):
        start = dice.choice(KEYS)
        end = b"\0" if dice.random() < 0.3 else dice.choice([*KEYS, b"p" * PREFIX])
        found = under_test.range(0, pb.RangeRequest(key=start, range_end=end, count_only=True))
        limited = under_test.range(0, pb.RangeRequest(key=start, range_end=end, limit=3))
        wanted = sorted(key for key in alive if key >= start and (end == b"\0" or key < end))
        assert found.count == limited.count == len(wanted)
        assert [item.key for item in limited.kvs] == wanted[:3]
        assert limited.more == (len(wanted) > 3)


@pytest.mark.parametrize("seed", range(8))
def test_counts_follow_every_key_that_comes_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("raftmeta.store.counts.BLOCK", 2)
    dice = random.Random(seed)
    alive: set[bytes] = set()
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for number in range(120):
            kind = dice.random()
            if kind < 0.1:
                start, end = sorted(dice.sample(KEYS, 2))
                feed(pb.DeleteRangeRequest(key=start, range_end=end))
                alive = {key for key in alive if not start <= key < end}
            elif kind < 0.2:
                feed(pb.CompactionRequest(revision=max(under_test.revisions(0)[0] - 3, 1)))
            elif kind < 0.4:
                keys = dice.sample(KEYS, 12)
                ops = [pb.RequestOp(request_put=pb.PutRequest(key=key)) for key in keys]
                feed(pb.TxnRequest(success=ops))
                alive.update(keys)
            else:
                key = dice.choice(KEYS)
                if dice.random() < 0.5:
                    feed.put(key)
                    alive.add(key)
                else:
                    feed(pb.DeleteRangeRequest(key=key))
                    alive.discard(key)
            if number % 10 == 0:
                under_test._store.flush()
            check(under_test, alive, dice)
        copy = tmp_path / "copy"
        copy.mkdir()
        under_test.snapshot(copy)
    with machine(tmp_path / "machine") as under_test:
        check(under_test, alive, dice)
    with machine(tmp_path / "other") as under_test:
        under_test.install(copy)
        check(under_test, alive, dice)
        Feed(under_test).put(b"new")
        check(under_test, alive | {b"new"}, dice)


def test_a_count_and_its_range_are_of_one_moment_while_keys_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raftmeta.store.counts.BLOCK", 2)
    stop, failures = threading.Event(), list[BaseException]()
    with machine(tmp_path / "machine") as under_test:
        feed = Feed(under_test)
        for number in range(50):
            feed.put(b"%02d" % number)

        def read() -> None:
            try:
                while not stop.is_set():
                    found = under_test.range(0, pb.RangeRequest(key=b"0", range_end=b"z", limit=10))
                    assert found.count == 50
                    assert len(found.kvs) == 10
            except BaseException as error:
                failures.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for number in range(300):
            gone, comes = b"%02d" % (number % 50), b"%02d" % ((number + 1) % 50)
            feed(
                pb.TxnRequest(
                    success=[
                        pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=gone)),
                        pb.RequestOp(request_put=pb.PutRequest(key=b"x" + gone)),
                    ]
                )
            )
            feed(
                pb.TxnRequest(
                    success=[
                        pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"x" + gone)),
                        pb.RequestOp(request_put=pb.PutRequest(key=gone)),
                        pb.RequestOp(request_put=pb.PutRequest(key=comes)),
                    ]
                )
            )
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
