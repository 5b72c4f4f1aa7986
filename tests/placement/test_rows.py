"""Rows of a zone are the same wherever they are: read from one database, stored in another, deleted."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness.leaves import LEAVES, TREE, plant
from harness.records import Clock, Opening
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet.cluster.peers.v1 import peers_pb2 as pb
from quartet_server.errors import FieldInvalid
from quartet_server.placement import rows, wire
from quartet_server.placement.wire import Sum
from quartet_server.placement_errors import RowsDamaged
from quartet_server.records.contract import Database, Dialect

TABLES = TREE.metadata.sorted_tables


async def _sums(database: Database, zone: str) -> dict[str, Sum]:
    return {table.name: await rows.whole(database, zone, table) for table in TABLES}


def _numbers(sums: dict[str, Sum]) -> dict[str, int]:
    return {name: one.rows for name, one in sums.items() if one.rows}


async def _copy(source: Database, target: Database, zone: str) -> None:
    """Send everything, each page twice: a page whose answer was lost is sent again."""
    for one in rows.passes([TREE]):
        after: pb.Row | None = None
        while True:
            page, after = await source.read(zone, partial(rows.page, one=one, after=after))
            if after is None:
                break
            sent = page.SerializeToString()
            work = partial(
                rows.store,
                table=one.table,
                rows=wire.parse(sent, wire.digest(sent)),
                late=one.late if one.second else (),
            )
            for _ in range(2):
                await target.write(zone, work)


@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
async def test_rows_go_from_any_database_to_any_other(
    tmp_path: Path, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PAGE", 37)
    monkeypatch.setattr(rows, "STRETCH", 100)
    async with AsyncExitStack() as undo:
        folders = tmp_path / "a", tmp_path / "b"
        for folder in folders:
            folder.mkdir()
        here = await Opening(source, folders[0], Clock(), undo).database(TREE)
        there = await Opening(target, folders[1], Clock(), undo).database(TREE)
        for zone in ("red", "blue"):
            await plant(here, zone, 120)
        await _copy(here, there, "red")
        before, others = await _sums(here, "red"), await _sums(here, "blue")
        assert _numbers(before) == {"leaves": 120, "bugs": 240}
        assert await _sums(there, "red") == before
        steps = 0
        while await here.write("red", lambda session: rows.delete(session, TABLES)):
            steps += 1
        assert steps > 10  # never all at once
        assert _numbers(await _sums(here, "red")) == {}
        assert await _sums(here, "blue") == others


def test_a_sum_knows_every_row_and_not_their_order() -> None:
    some = [pb.Row(values=[pb.Value(integer=i), pb.Value(text="x" * i)]) for i in range(5)]
    sums = []
    for order in (some, some[::-1], some[:4], [*some, some[0]], [*some[:4], pb.Row(values=[pb.Value(integer=4)])]):
        one = Sum()
        for row in order:
            one.add(row)
        sums.append(one)
    assert sums[0] == sums[1]
    assert all(sums[0] != other for other in sums[2:])
    assert Sum(sums[0].rows, sums[0].total) == sums[0]


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=32))
def test_bytes_that_are_not_those_that_were_sent_are_refused(data: bytes, digest: bytes) -> None:
    with pytest.raises(RowsDamaged):
        wire.parse(data, digest)


VALUES: dict[str, Any] = {
    "integer": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(),
    "text": st.text(max_size=20),
    "blob": st.binary(max_size=20),
    "boolean": st.booleans(),
    "vector": st.binary(max_size=21),
}


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(st.just({}), *(value.map(lambda v, k=kind: {k: v}) for kind, value in VALUES.items())), max_size=9
    ),
    st.sampled_from(Dialect),
)
def test_any_row_that_arrives_is_taken_or_refused(values: list[dict[str, Any]], dialect: Dialect) -> None:
    kinds = wire.columns(LEAVES)
    row = pb.Row(values=[pb.Value(**value) for value in values])
    decoded: dict[str, Any] = {}
    with suppress(FieldInvalid):
        decoded = wire.decode(kinds, row, dialect)
    assert list(decoded) in ([], [kind.name for kind in kinds])


def test_columns_that_may_come_late_are_those_that_refer_further_on() -> None:
    assert wire.late(TABLES) == {"leaves": ("parent",)}
    passes = [(one.table.name, one.second) for one in rows.passes([TREE])]
    assert [one for one in passes if one[0] != "requests"] == [("leaves", False), ("bugs", False), ("leaves", True)]
    assert passes[-1] == ("leaves", True)
