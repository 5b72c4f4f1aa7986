"""What is wrong in stock pysyncobj (P1 to P23 in raftmeta/DESIGN.md), shown on stock pysyncobj; see test_defects.py."""

from __future__ import annotations

import gc
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pysyncobj.journal
import pytest
from harness.stock import Stock, stock_clock
from pysyncobj import SyncObjConf
from pysyncobj.journal import FileJournal
from pysyncobj.node import Node

__all__ = ["stock_clock"]

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # stock leaves its meta file open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
Advance = Callable[[float], None]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Have what stock leaves open closed while its warnings are expected."""
    yield
    gc.collect()


def _failing(*_: object) -> None:
    raise RuntimeError("callback")


def test_p1_stock_answers_an_append_without_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(pysyncobj.journal.ResizableFile, "flush", lambda self: synced.append(0))
    stock = Stock(files=tmp_path)
    stock.append("b", 1, (1, 0), [(2, 1), (3, 1)])
    assert stock.outbox.of("next_node_idx")[-1]["success"]
    assert synced == []


def test_p2_stock_drops_entries_that_an_old_append_does_not_repeat() -> None:
    stock = Stock()
    stock.append("b", 1, (1, 0), [(index, 1) for index in range(2, 12)], commit=11)
    assert len(stock.log) == 11
    stock.append("b", 1, (1, 0), [(2, 1)], commit=11)
    assert len(stock.log) == 2


def test_p3_stock_commits_its_own_tail_on_a_snapshot_message() -> None:
    stock = Stock()
    stock.append("b", 1, (1, 0), [(2, 1), (3, 1), (4, 1)], commit=1)
    stock.hear("c", "append_entries", term=5, commit_index=100, serialized=None)
    assert stock.raftCommitIndex == 4


def test_p4_stock_loses_its_tail_when_it_dies_while_compacting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    for index in range(1, 101):
        journal.add(b"\x01", index, 1)
    stock_add, left = FileJournal.add, [20]

    def add(self: Any, *record: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        stock_add(self, *record)

    monkeypatch.setattr(FileJournal, "add", add)
    with pytest.raises(KeyboardInterrupt):
        journal.deleteEntriesTo(50)
    assert FileJournal(str(tmp_path / "journal"))[-1][1] == 70


def test_p7_stock_does_not_start_on_a_torn_tail(tmp_path: Path) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    journal.add(b"\x01" * 2000, 1, 1)
    journal._destroy()
    os.truncate(tmp_path / "journal", 40)
    with pytest.raises((struct.error, ValueError)):
        FileJournal(str(tmp_path / "journal"))


def test_p8_stock_forgets_its_term_when_its_meta_file_is_damaged(tmp_path: Path) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    journal.setCurrentTerm(7, "b")
    (tmp_path / "journal.meta").write_bytes(b"")
    assert FileJournal(str(tmp_path / "journal")).getCurrentTerm() == 0


def test_p10_stock_cannot_pass_4_gib(tmp_path: Path) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    with pytest.raises(struct.error):
        journal._FileJournal__setLastRecordOffset(1 << 32)


def test_p5_stock_drops_its_journal_when_the_dump_is_newer(tmp_path: Path) -> None:
    conf = {"fullDumpFile": str(tmp_path / "dump")}
    stock = Stock(files=tmp_path, **conf)
    stock.append("b", 1, (1, 0), [(index, 1) for index in range(2, 103)], commit=52)
    stock.doTick(0)
    journal = stock._SyncObj__raftLog
    stock._SyncObj__serializer.serialize(({}, journal[51], journal[50], set()), 51)
    assert len(stock.log) == 102
    again = Stock(files=tmp_path, **conf)
    again.doTick(0)
    assert len(again.log) == 2


def test_p6_stock_believes_a_commit_index_beyond_its_journal(tmp_path: Path) -> None:
    journal = FileJournal(str(tmp_path / "journal"))
    journal.setRaftCommitIndex(100)
    journal.setCurrentTerm(1, None)
    journal._destroy()
    stock = Stock(files=tmp_path)
    assert stock.raftCommitIndex == 100 > len(stock.log)


def test_p11_stock_believes_a_reply_of_an_earlier_term_and_leaves_a_stale_leader_alone() -> None:
    stock = Stock()
    stock.lead()
    stock.hear("b", "next_node_idx", next_node_idx=100, reset=False, success=True)
    assert stock._SyncObj__raftMatchIndex[next(iter(stock.otherNodes & {Node("b")}))] == 99
    stock._SyncObj__setCurrentTerm(9, None)
    stock.outbox.sent.clear()
    stock.append("c", 2, (1, 0), [])
    assert stock.outbox.sent == []


def test_p12_stock_raises_its_term_while_nobody_answers(stock_clock: Advance) -> None:
    stock = Stock()
    for _ in range(8):
        stock_clock(5.0)
        stock.doTick(0)
    assert stock.raftCurrentTerm == 8


def test_p13_stock_leads_alone_for_half_a_minute(stock_clock: Advance) -> None:
    stock = Stock()
    stock.lead()
    stock_clock(29.0)
    stock.doTick(0)
    assert stock._isLeader()


def test_p14_stock_applies_twice_when_a_callback_raises() -> None:
    stock = Stock("")
    stock.lead()
    stock.keep(1, callback=_failing)
    for _ in range(5):
        try:
            stock.doTick(0)
        except RuntimeError:
            continue
    assert stock.values == [1, 1]


def test_p15_stock_tries_a_poison_entry_for_ever() -> None:
    stock = Stock("")
    stock.lead()
    stock.keep("poison")
    for _ in range(10):
        try:
            stock.doTick(0)
        except RuntimeError:
            continue
    applied = stock.raftLastApplied
    with pytest.raises(RuntimeError):
        stock.doTick(0)
    assert stock.raftLastApplied == applied < stock.raftCommitIndex


def test_p16_stock_takes_a_journal_without_a_dump(tmp_path: Path) -> None:
    SyncObjConf(journalFile=str(tmp_path / "journal")).validate()
    stock = Stock(files=tmp_path)
    stock.append("b", 1, (1, 0), [(index, 1) for index in range(2, 100)], commit=99)
    stock.doTick(0)
    stock.forceLogCompaction()
    for _ in range(3):
        stock.doTick(0)
    assert len(FileJournal(str(tmp_path / "journal"))) < 10


def test_p17_stock_starts_without_a_dump_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"nonsense")
    stock = Stock(files=tmp_path, fullDumpFile=str(tmp_path / "dump"))
    stock.doTick(0)
    stock.hear("b", "request_vote", term=5, last_log_index=9, last_log_term=4)
    assert stock.outbox.of("response_vote")


def test_p18_stock_replaces_its_log_by_an_older_snapshot(tmp_path: Path) -> None:
    old = Stock(files=tmp_path, fullDumpFile=str(tmp_path / "old"))
    old._SyncObj__serializer.serialize(({}, (b"\x01", 3, 1), (b"\x01", 2, 1), set()), 2)
    data = (tmp_path / "old").read_bytes()
    (tmp_path / "new").mkdir()
    stock = Stock(files=tmp_path / "new", fullDumpFile=str(tmp_path / "new" / "dump"))
    stock.append("b", 1, (1, 0), [(index, 1) for index in range(2, 50)], commit=49)
    stock.hear("b", "append_entries", term=1, commit_index=49, serialized=(data, True, False))
    stock.hear("b", "append_entries", term=1, commit_index=49, serialized=(b"", False, True))
    assert stock.log[-1][0] == 3


def test_p19_stock_forgets_a_new_member_when_it_restarts(tmp_path: Path) -> None:
    stock = Stock(files=tmp_path)
    stock.lead()
    stock.append("b", 5, (1, 0), [(2, 5)], commit=2)
    stock._SyncObj__doChangeCluster(["add", "d", Node("d")])
    assert {node.id for node in stock.otherNodes} == {"b", "c", "d"}
    assert {node.id for node in Stock(files=tmp_path).otherNodes} == {"b", "c"}


def test_p20_stock_forks_for_a_snapshot_by_default() -> None:
    assert SyncObjConf().useFork


def test_p21_stock_calls_an_election_after_a_stall_though_heartbeats_wait(
    stock_clock: Advance, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = Stock()
    stock.append("b", 1, (1, 0), [])
    monkeypatch.setattr(stock._poller, "poll", lambda timeout: stock.append("b", 1, (1, 0), []))
    stock_clock(5.0)
    stock.doTick(0)
    assert stock.outbox.of("request_vote")


def test_p22_stock_keeps_two_entries_after_compaction() -> None:
    stock = Stock()
    stock.append("b", 1, (1, 0), [(index, 1) for index in range(2, 100)], commit=99)
    stock.doTick(0)
    stock.forceLogCompaction()
    for _ in range(3):
        stock.doTick(0)
    assert len(stock.log) == 2
