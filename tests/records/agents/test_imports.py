"""Imports of foreign sessions: once, again, with more; and each for itself."""

from __future__ import annotations

import asyncio

import pytest
from grpc import aio
from harness.conversations import ASSISTANT, Ledger, said
from harness.failures import info_of, reason_of
from quartet.agents.v1 import (
    contents_pb2,
    imports_pb2,
    list_calls_pb2,
    messages_pb2,
    session_calls_pb2,
    turn_calls_pb2,
    turns_pb2,
)
from quartet.agents.v1 import import_calls_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_scope="session")
BACKFILL, TAIL = imports_pb2.IMPORT_MODE_BACKFILL, imports_pb2.IMPORT_MODE_TAIL
IMPORTED, UPSERTED = pb.IMPORT_STATUS_IMPORTED, pb.IMPORT_STATUS_UPSERTED
SKIPPED, FAILED = pb.IMPORT_STATUS_SKIPPED, pb.IMPORT_STATUS_FAILED


def turn(name: str, *answers: str, **fields: object) -> contents_pb2.TurnContents:
    """Return a turn with ids, its question and some answers."""
    asked = said(f"{name}?", id=f"{name}.q")
    answered = [said(text, ASSISTANT, id=f"{name}.{place}") for place, text in enumerate(answers)]
    return contents_pb2.TurnContents(
        turn=turns_pb2.Turn(id=name, **fields),  # type: ignore[arg-type]
        messages=[asked, *answered],
    )


def item(fingerprint: str, *turns: contents_pb2.TurnContents, name: str = "s", **fields: object) -> pb.ImportItem:
    """Return a foreign session."""
    usual = {"source_provider": "codex", "source_session_id": name, "source_session_fingerprint": fingerprint}
    return pb.ImportItem(**{**usual, **fields}, turns=turns)  # type: ignore[arg-type]


def imported(key: str, *items: pb.ImportItem, **fields: object) -> pb.ImportSessionsRequest:
    """Return a request that imports sessions."""
    usual = {"source": "quartet", "mode": BACKFILL}
    return pb.ImportSessionsRequest(**{**usual, **fields}, idempotency_key=key, items=items)  # type: ignore[arg-type]


async def test_a_session_is_imported_then_skipped_then_gets_what_is_new(ledger: Ledger) -> None:
    first = item("1", turn("a", "x", total_tokens=5), turn("b", total_tokens=1))
    answer = await ledger.calls.ImportSessions(imported("k1", first, persona_id="atlas"))
    [result] = answer.results
    assert (answer.imported, result.status, result.session_label) == (1, IMPORTED, "codex:s")
    assert (result.turns, result.messages) == (2, 3)
    again = await ledger.calls.ImportSessions(imported("k2", first))
    assert (again.skipped, again.results[0].status) == (1, SKIPPED)
    more = item("2", turn("a", "x"), turn("b", "y", total_tokens=3), turn("c", total_tokens=4))
    third = await ledger.calls.ImportSessions(imported("k3", more))
    assert (third.upserted, third.results[0].turns, third.results[0].messages) == (1, 1, 2)
    way = await ledger.calls.GetThread(turn_calls_pb2.GetThreadRequest(session_label="codex:s", contents=True))
    assert [one.turn.id for one in way.turns] == ["a", "b", "c"]
    assert [one.message.id for one in way.turns[1].messages] == ["b.q", "b.0"]
    assert (way.turns[1].turn.response_message_id, way.total_tokens) == ("b.0", 12)
    known = await ledger.calls.ListSessionImports(list_calls_pb2.ListSessionImportsRequest(source_provider="codex"))
    assert [one.source_session_fingerprint for one in known.session_imports] == ["2"]


async def test_the_session_says_where_it_came_from(ledger: Ledger) -> None:
    await ledger.calls.ImportSessions(imported("k", item("1", turn("a")), persona_id="atlas"))
    session = await ledger.calls.GetSession(session_calls_pb2.GetSessionRequest(label="codex:s"))
    assert (session.persona_id, session.origin, session.origin_session_id) == (
        "atlas",
        "codex",
        "s",
    )


async def test_what_ends_after_the_first_import_is_ended_by_the_next(ledger: Ledger) -> None:
    begun = turn("a", status=turns_pb2.TURN_STATUS_STREAMING)
    begun.tool_calls.add(id="a.c", tool_name="ls", message_id="a.q")
    await ledger.calls.ImportSessions(imported("k1", item("1", begun), mode=TAIL))
    ended = turn("a", "done", input_tokens=2, output_tokens=3)
    call = ended.tool_calls.add(id="a.c", tool_name="ls")
    call.result.string_value = "files"
    answer = await ledger.calls.ImportSessions(imported("k2", item("2", ended), mode=TAIL))
    assert answer.results[0].status == UPSERTED, answer
    whole = await ledger.calls.GetTurn(turn_calls_pb2.GetTurnRequest(id="a"))
    assert (whole.turn.status, whole.thread.total_tokens) == (turns_pb2.TURN_STATUS_COMPLETED, 5)
    assert [(one.status, one.result.string_value) for one in whole.tool_calls] == [
        (messages_pb2.TOOL_CALL_STATUS_COMPLETED, "files")
    ]


async def test_one_that_cannot_be_imported_fails_alone_and_leaves_nothing(ledger: Ledger) -> None:
    broken = item(
        "1", turn("b"), contents_pb2.TurnContents(turn=turns_pb2.Turn(id="c", parent_turn_id="gone")), name="x"
    )
    answer = await ledger.calls.ImportSessions(
        imported("k", item("1", turn("a")), broken, item("1", turn("d"), name="y"))
    )
    assert [one.status for one in answer.results] == [IMPORTED, FAILED, IMPORTED]
    assert (answer.imported, answer.failed, answer.results[1].reason) == (2, 1, "TURN_NOT_FOUND")
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.GetTurn(turn_calls_pb2.GetTurnRequest(id="b"))
    assert reason_of(error.value) == "TURN_NOT_FOUND"
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.head("codex:x")
    assert reason_of(error.value) == "SESSION_NOT_FOUND"


async def test_a_tree_is_imported_with_its_branches(ledger: Ledger) -> None:
    branches = item("1", turn("a"), turn("b"), turn("c", parent_turn_id="a"), turn("d"), turn("r", parent_turn_id=""))
    await ledger.calls.ImportSessions(imported("k", branches))
    parents = {}
    for one in (await ledger.calls.ListTurns(list_calls_pb2.ListTurnsRequest())).turns:
        parents[one.id] = one.parent_turn_id
    assert parents == {"a": "", "b": "a", "c": "a", "d": "c", "r": ""}
    assert await ledger.head("codex:s") == "r"


async def test_a_repeated_key_gets_the_first_answer_and_another_import_under_it_its_code(ledger: Ledger) -> None:
    request = imported("k", item("1", turn("a")), run_id="run")
    first = await ledger.calls.ImportSessions(request)
    request.run_id = "another run"
    assert await ledger.calls.ImportSessions(request) == first
    for other, code in (
        (imported("k", item("1", turn("a")), source="aix"), "idempotency_key_source_mismatch"),
        (imported("k", item("1", turn("a")), mode=TAIL), "idempotency_key_mode_mismatch"),
        (imported("k", item("2", turn("a"))), "idempotency_key_payload_mismatch"),
    ):
        with pytest.raises(aio.AioRpcError) as error:
            await ledger.calls.ImportSessions(other)
        assert (reason_of(error.value), info_of(error.value).metadata["code"]) == ("IMPORT_KEY_MISMATCH", code)


async def test_imports_of_one_session_at_once_make_one_session(ledger: Ledger) -> None:
    attempts = (ledger.calls.ImportSessions(imported(f"k{n}", item("1", turn("a")))) for n in range(4))
    results = [one.results[0].status for one in await asyncio.gather(*attempts)]
    assert sorted(results) == [IMPORTED, SKIPPED, SKIPPED, SKIPPED]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (item("1", turn("a"), turn("a", turn_type=turns_pb2.TURN_TYPE_COMPACTION)), "FIELD_INVALID"),
        (item("1", contents_pb2.TurnContents()), "FIELD_INVALID"),
        (item("1", contents_pb2.TurnContents(turn=turns_pb2.Turn(id="a"), messages=[said("x")])), "FIELD_INVALID"),
        (item("", turn("a")), "FIELD_INVALID"),
        (item("1", turn("a", status=turns_pb2.TURN_STATUS_STREAMING), turn("b")), "TURN_UNFINISHED"),
        (item("1", turn("t")), "RECORD_EXISTS"),  # its message is another turn's
    ],
)
async def test_a_session_that_is_wrong_fails_with_its_reason(ledger: Ledger, wrong: pb.ImportItem, reason: str) -> None:
    await ledger.session()
    await ledger.append(contents=contents_pb2.TurnContents(messages=[said("x", id="t.q")]))
    answer = await ledger.calls.ImportSessions(imported("k", wrong))
    assert (answer.results[0].status, answer.results[0].reason) == (FAILED, reason)


@pytest.mark.parametrize(
    "wrong",
    [
        imported("", item("1")),
        imported("k", source=""),
        imported("k", mode=0),
        imported("k", *[item("1")] * 257),
        imported("k", run_id="a\nb"),
    ],
)
async def test_an_import_that_is_wrong_is_refused(ledger: Ledger, wrong: pb.ImportSessionsRequest) -> None:
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.ImportSessions(wrong)
    assert reason_of(error.value) == "FIELD_INVALID"
