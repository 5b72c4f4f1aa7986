"""Episodes and chunks of code: stored, found by meaning and by name, forgotten."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from harness.failures import fails
from harness.planning import Planning
from harness.records import Clock
from quartet.projects.v1 import memory_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
CODE = grpc.StatusCode
FIX, DECISION = pb.EPISODE_TYPE_ERROR_FIX, pb.EPISODE_TYPE_DECISION


async def store(planning: Planning, id_: str, **said: Any) -> pb.Episode:
    return await planning.StoreEpisode(  # type: ignore[no-any-return]
        episode=pb.Episode(**{"id": id_, "project_id": "p", "type": FIX, "content": id_, **said})
    )


async def test_reading_an_episode_counts_and_nothing_else_does(planning: Planning, now: Clock) -> None:
    await planning.project()
    made = await store(planning, "e", embedding=[1, 0])
    now.now += 3
    read = await planning.GetEpisode(id="e")
    assert (read.access_count, read.last_accessed_at.seconds, read.etag) == (1, int(now.now), made.etag)
    assert list(read.embedding) == [1, 0]
    (listed,) = (await planning.ListEpisodes(project_id="p")).episodes
    assert (listed.access_count, list(listed.embedding)) == (1, [])
    await planning.SearchEpisodes(project_id="p")
    assert (await planning.GetEpisode(id="e")).access_count == 2


async def test_episodes_are_found_by_what_they_mean(planning: Planning) -> None:
    await planning.project()
    await planning.project("q")
    await store(planning, "same", embedding=[2, 0])
    await store(planning, "near", embedding=[1, 1], type=DECISION, task_id="t")
    await store(planning, "far", embedding=[-1, 0])
    await store(planning, "none")
    await store(planning, "other", project_id="q", embedding=[1, 0])
    found = (await planning.SearchEpisodes(project_id="p", vector=[1, 0])).matches
    assert [(one.episode.id, round(one.score, 3)) for one in found] == [("same", 1), ("near", 0.707), ("far", -1)]
    assert not found[0].episode.embedding
    found = (await planning.SearchEpisodes(project_id="p", vector=[1, 0], min_score=0.8)).matches
    assert [one.episode.id for one in found] == ["same"]
    found = (await planning.SearchEpisodes(project_id="p", vector=[1, 0], type=DECISION, task_id="t")).matches
    assert [one.episode.id for one in found] == ["near"]
    assert len((await planning.SearchEpisodes(project_id="p", vector=[1, 0], limit=2)).matches) == 2
    with fails(CODE.INVALID_ARGUMENT, "VECTOR_DIMENSION"):
        await planning.SearchEpisodes(project_id="p", vector=[1, 0, 0])
    for wrong in ({}, {"project_id": "p", "limit": 1001}, {"project_id": "p", "type": 77}):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await planning.SearchEpisodes(**wrong)


async def test_without_a_vector_the_most_important_episodes_come_first(planning: Planning) -> None:
    await planning.project()
    for id_, importance in (("b", 0.5), ("a", 2.0), ("c", 0.0)):
        await store(planning, id_, importance=importance)
    found = (await planning.SearchEpisodes(project_id="p")).matches
    assert [one.episode.id for one in found] == ["a", "b", "c"]


async def test_pruning_forgets_the_least_important_and_tells_first_what_it_would(planning: Planning) -> None:
    await planning.project()
    for number in range(6):
        await store(planning, f"e{number}", importance=number // 2)
    await planning.GetEpisode(id="e2")  # of two that are as important the one that was read stays
    dry = await planning.PruneEpisodes(project_id="p", keep=3, dry_run=True)
    assert (dry.pruned, dry.kept) == (3, 3)
    assert (await planning.PruneEpisodes(project_id="p", keep=3)) == dry
    left = {one.id for one in (await planning.ListEpisodes(project_id="p")).episodes}
    assert left == {"e2", "e4", "e5"}
    done = await planning.PruneEpisodes(project_id="p", below_importance=1.5)
    assert (done.pruned, done.kept) == (1, 2)
    for wrong in ({"project_id": "p"}, {"keep": 1}, {"project_id": "p", "keep": -1}):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await planning.PruneEpisodes(**wrong)


def chunk(file: str, content: str, **said: Any) -> pb.CodeChunk:
    return pb.CodeChunk(
        **{
            "file": file,
            "content": content,
            "chunk_type": "function",
            "language": "python",
            "start_line": 1,
            "end_line": 2,
            **said,
        }
    )


async def index(planning: Planning, *chunks: pb.CodeChunk, **said: Any) -> Any:
    return await planning.IndexCodeChunks(project_id="p", chunks=chunks, **said)


async def test_a_chunk_that_is_there_is_not_stored_again(planning: Planning) -> None:
    first = await index(planning, chunk("a.py", "one"), chunk("a.py", "two"), chunk("a.py", "one"))
    assert (first.created, first.duplicates, [one.duplicate for one in first.results]) == (2, 1, [False, False, True])
    again = await index(planning, chunk("a.py", "one", start_line=7, end_line=8), chunk("b.py", "one"))
    assert [(one.id == first.results[0].id, one.duplicate) for one in again.results] == [(True, True), (False, False)]
    moved = await planning.GetCodeChunk(id=first.results[0].id)
    assert (moved.start_line, moved.end_line) == (7, 8)
    replaced = await index(planning, chunk("a.py", "one"), chunk("a.py", "three"), replace_files=True)
    assert (replaced.created, replaced.duplicates, replaced.deleted) == (1, 1, 1)
    listed = (await planning.ListCodeChunks(project_id="p", order_by="file, content")).code_chunks
    assert [(one.file, one.content) for one in listed] == [("a.py", "one"), ("a.py", "three"), ("b.py", "one")]
    assert (await planning.DeleteFileChunks(project_id="p", file="a.py")).deleted == 2
    for wrong in (chunk("", "x"), chunk("a.py", ""), chunk("a.py", "x", end_line=0)):
        with fails(CODE.INVALID_ARGUMENT, "FIELD_INVALID"):
            await index(planning, wrong)


async def test_code_is_found_by_what_it_means_and_where_it_is(planning: Planning) -> None:
    await index(
        planning,
        chunk("src/a.py", "near", embedding=[1, 0.1]),
        chunk("src/b.go", "nearer", embedding=[1, 0], language="go"),
        chunk("test/%.py", "far", embedding=[0, 1], chunk_type="class"),
    )

    async def found(**said: Any) -> list[str]:
        matches = (await planning.SearchCode(project_id="p", **said)).matches
        assert all(not one.chunk.embedding for one in matches)
        return [one.chunk.content for one in matches]

    assert await found(vector=[1, 0]) == ["nearer", "near", "far"]
    assert await found(vector=[1, 0], min_score=0.5, language="python") == ["near"]
    assert await found(vector=[1, 0], file_prefix="test/%") == ["far"]
    assert await found(vector=[1, 0], chunk_type="class") == ["far"]
    assert await found(file_prefix="src/") == ["near", "nearer"]
    assert await found(file_prefix="SRC/") == []


async def test_a_symbol_is_found_where_it_is_defined_and_nowhere_else(planning: Planning) -> None:
    await index(
        planning,
        chunk("b.py", "1", symbols=["Claim", 'a"b%']),
        chunk("a.py", "2", symbols=["claim", "ClaimTask"]),
        chunk("c.py", "3", symbols=["ReClaim", "größe"]),
    )

    async def files(symbol: str, **said: Any) -> list[str]:
        return [one.file for one in (await planning.FindSymbol(project_id="p", symbol=symbol, **said)).chunks]

    assert await files("Claim") == ["b.py"]
    assert await files("Claim", prefix=True) == ["a.py", "b.py"]
    assert await files("Claim", prefix=True, limit=1) == ["a.py"]
    assert await files('a"b%') == ["b.py"]
    assert await files("größe") == ["c.py"]
    assert await files("Clai") == []


async def test_the_map_of_a_repository_has_files_and_what_is_defined_in_them(planning: Planning) -> None:
    await index(
        planning,
        chunk("a.py", "1", symbols=["f", "g"], start_line=3, end_line=9),
        chunk("a.py", "2", symbols=["A"], chunk_type="class", start_line=1, end_line=2),
        chunk("b/c.go", "3", language="go"),
    )
    whole = await planning.RepoMap(project_id="p")
    assert [(one.file, one.language, one.chunks, one.lines) for one in whole.files] == [
        ("a.py", "python", 2, 9),
        ("b/c.go", "go", 1, 2),
    ]
    symbols = [(one.name, one.chunk_type, one.line) for one in whole.files[0].symbols]
    assert symbols == [("A", "class", 1), ("f", "function", 3), ("g", "function", 3)]
    first = await planning.RepoMap(project_id="p", limit=1)
    assert ([one.file for one in first.files], first.more) == (["a.py"], True)
    rest = await planning.RepoMap(project_id="p", limit=1, after_file="a.py")
    assert ([one.file for one in rest.files], rest.more) == (["b/c.go"], False)
    assert [one.file for one in (await planning.RepoMap(project_id="p", file_prefix="b/")).files] == ["b/c.go"]
