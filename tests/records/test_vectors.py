"""The nearest vectors are those that a sort by distance finds, with every driver and measure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from harness.records import Opening
from quartet.projects.v1 import memory_pb2 as pb
from quartet_server.errors import FieldInvalid
from quartet_server.record_errors import VectorDimension
from quartet_server.records import rows
from quartet_server.records.contract import Database, Session
from quartet_server.records.schema import schema
from quartet_server.records.vectors import MAX_K, Metric, nearest

SCHEMA = schema("projects", owner="Test", messages=(pb.CodeChunk,))
CHUNKS = SCHEMA.record(pb.CodeChunk)
DIMENSION = 24


def chunk(key: str, vector: Sequence[float] = (), language: str = "python") -> pb.CodeChunk:
    return pb.CodeChunk(
        id=key,
        project_id="p",
        file="f",
        content="c",
        chunk_type="function",
        language=language,
        hash=key,
        embedding=vector,
        indexed_at=Timestamp(seconds=1),
    )


def vectors(seed: int, count: int) -> list[list[float]]:
    draw = random.Random(seed)
    return [[draw.uniform(-1, 1) for _ in range(DIMENSION)] for _ in range(count)]


def distance(metric: Metric, one: Sequence[float], other: Sequence[float]) -> float:
    along = sum(a * b for a, b in zip(one, other, strict=True))
    if metric is Metric.INNER_PRODUCT:
        return -along
    if metric is Metric.L2:
        return math.dist(one, other)
    return 1 - along / (math.hypot(*one) * math.hypot(*other))


def search(asked: Sequence[float], metric: Metric, session: Session) -> list[tuple[pb.CodeChunk, float]]:
    return nearest(session, CHUNKS, "embedding", asked, k=10, metric=metric)


@pytest_asyncio.fixture
async def chunks(opening: Opening) -> Database:
    """Two hundred chunks with vectors in a zone, some without, and others in another zone."""
    opened = await opening.database(SCHEMA)
    languages = ("python", "go")
    mine = [chunk(f"c{n:03}", vector, languages[n % 2]) for n, vector in enumerate(vectors(1, 200))]
    await opened.write("a", lambda session: rows.insert_all(session, CHUNKS, [*mine, chunk("none")]))
    await opened.write(
        "b", lambda session: rows.insert_all(session, CHUNKS, [chunk(f"b{n}", v) for n, v in enumerate(vectors(2, 20))])
    )
    return opened


async def test_the_nearest_are_those_that_sorting_all_finds(chunks: Database) -> None:
    stored = vectors(1, 200)
    for metric, asked in product(Metric, vectors(3, 3)):
        found = await chunks.read("a", partial(search, asked, metric))
        all_of_them = sorted((distance(metric, one, asked), f"c{n:03}") for n, one in enumerate(stored))
        assert [one.id for one, _ in found] == [key for _, key in all_of_them[:10]]
        assert [far for _, far in found] == pytest.approx([far for far, _ in all_of_them[:10]], abs=1e-4)


async def test_only_what_fulfils_the_conditions_is_compared(chunks: Database) -> None:
    await chunks.write("a", lambda session: rows.insert(session, CHUNKS, chunk("short", [1.0], language="c")))
    asked = vectors(4, 1)[0]
    go = CHUNKS.table.c.language == "go"
    found = await chunks.read("a", lambda s: nearest(s, CHUNKS, "embedding", asked, k=1000, conditions=[go]))
    assert {one.language for one, _ in found} == {"go"}
    assert len(found) == 100


async def test_a_vector_of_another_dimension_is_told_of_instead_of_being_left_out(chunks: Database) -> None:
    with pytest.raises(VectorDimension) as refused:
        await chunks.read("a", lambda session: nearest(session, CHUNKS, "embedding", [1.0, 2.0], k=3))
    assert (refused.value.metadata["asked"], refused.value.metadata["stored"]) == ("2", str(DIMENSION))
    await chunks.write("a", lambda session: rows.insert(session, CHUNKS, chunk("other", [1.0, 2.0])))
    with pytest.raises(VectorDimension):
        await chunks.read("a", lambda session: nearest(session, CHUNKS, "embedding", vectors(4, 1)[0], k=3))


async def test_equally_near_ones_come_in_the_order_of_their_keys_and_zeros_have_no_direction(chunks: Database) -> None:
    same = [chunk(f"x{n}", [1.0] * DIMENSION, "c") for n in (3, 1, 2)]
    zero = chunk("zero", [0.0] * DIMENSION, "c")
    await chunks.write("a", lambda session: rows.insert_all(session, CHUNKS, [*same, zero]))
    c = CHUNKS.table.c.language == "c"
    asked = [0.5] * DIMENSION
    found = await chunks.read("a", lambda s: nearest(s, CHUNKS, "embedding", asked, k=9, conditions=[c]))
    assert [one.id for one, _ in found] == ["x1", "x2", "x3"]
    found = await chunks.read(
        "a", lambda s: nearest(s, CHUNKS, "embedding", asked, k=9, metric=Metric.L2, conditions=[c])
    )
    assert {one.id for one, _ in found} == {"x1", "x2", "x3", "zero"}


@pytest.mark.parametrize(
    ("vector", "k", "field"),
    [
        ([1.0] * DIMENSION, 0, "k"),
        ([1.0] * DIMENSION, MAX_K + 1, "k"),
        ([], 1, "vector"),
        ([0.0] * DIMENSION, 1, "vector"),
        ([math.nan] * DIMENSION, 1, "vector"),
        ([1.0] * 20_000, 1, "vector"),
    ],
    ids=["none", "too-many", "empty", "zeros", "nan", "long"],
)
def test_what_cannot_be_asked_is_refused(vector: list[float], k: int, field: str) -> None:
    nowhere: Any = None  # no database is asked
    with pytest.raises(FieldInvalid) as refused:
        nearest(nowhere, CHUNKS, "embedding", vector, k=k)
    assert set(refused.value.violations) == {field}


async def test_a_zone_without_vectors_has_no_nearest(chunks: Database) -> None:
    assert await chunks.read("c", lambda session: nearest(session, CHUNKS, "embedding", [1.0], k=3)) == []
