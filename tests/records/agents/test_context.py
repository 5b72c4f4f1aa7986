"""Compactions, and what an agent has to know to go on."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import aio
from harness.conversations import Ledger, exchange
from harness.failures import reason_of
from quartet.agents.v1 import list_calls_pb2, turns_pb2
from quartet.agents.v1 import turn_calls_pb2 as calls

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def compact(ledger: Ledger, **fields: Any) -> calls.CompactSessionResponse:
    """Compact a session."""
    compaction = turns_pb2.Compaction(summary="what was", model="claude", **fields)
    return await ledger.calls.CompactSession(calls.CompactSessionRequest(session_label="mom", compaction=compaction))


async def context(ledger: Ledger, page_size: int = 0) -> tuple[str, list[str], int]:
    """Return the summary, the turns, and the length that is told, of a context that is read in pages."""
    found, token = [], ""
    while True:
        request = calls.GetContextRequest(session_label="mom", page_size=page_size, page_token=token)
        page = await ledger.calls.GetContext(request)
        found += [one.turn.id for one in page.turns]
        token = page.next_page_token
        if not token:
            return page.compaction.summary, found, page.length


@pytest.mark.parametrize("page_size", [0, 1, 2])
async def test_a_context_is_what_came_since_the_last_compaction(ledger: Ledger, page_size: int) -> None:
    await ledger.session()
    assert await context(ledger, page_size) == ("", [], 0)
    before = [(await ledger.append()).turn.id for _ in range(3)]
    assert await context(ledger, page_size) == ("", before, 3)
    done = await compact(ledger)
    assert done.compaction.summarized_through_turn_id == before[-1]
    assert (done.turn.turn_type, done.turn.id) == (turns_pb2.TURN_TYPE_COMPACTION, await ledger.head())
    assert await context(ledger, page_size) == ("what was", [], 0)
    after = [(await ledger.append()).turn.id for _ in range(2)]
    assert await context(ledger, page_size) == ("what was", after, 2)


@pytest.mark.parametrize("page_size", [0, 1])
async def test_turns_that_a_compaction_keeps_stay_in_the_context(ledger: Ledger, page_size: int) -> None:
    await ledger.session()
    before = [(await ledger.append()).turn.id for _ in range(4)]
    await compact(ledger, summarized_through_turn_id=before[0], first_kept_turn_id=before[2])
    after = (await ledger.append()).turn.id
    assert await context(ledger, page_size) == ("what was", [*before[2:], after], 3)


async def test_what_is_not_summarised_is_kept_where_nobody_says_from_where(ledger: Ledger) -> None:
    await ledger.session()
    before = [(await ledger.append()).turn.id for _ in range(3)]
    await compact(ledger, summarized_through_turn_id=before[0])
    assert await context(ledger) == ("what was", before[1:], 2)


async def test_the_last_of_several_compactions_counts_however_far_away(ledger: Ledger) -> None:
    await ledger.session()
    await ledger.append()
    await compact(ledger)
    await ledger.append()
    await compact(ledger)
    after = [(await ledger.append(contents=exchange())).turn.id for _ in range(70)]
    assert await context(ledger, 50) == ("what was", after, 70)
    listed = await ledger.calls.ListCompactions(list_calls_pb2.ListCompactionsRequest(model="claude"))
    assert len(listed.compactions) == 2


async def test_a_compaction_names_turns_on_the_way_to_the_head(ledger: Ledger) -> None:
    await ledger.session()
    with pytest.raises(aio.AioRpcError) as error:
        await compact(ledger)
    assert reason_of(error.value) == "TURN_NOT_ON_PATH"
    root = (await ledger.append()).turn.id
    aside = (await ledger.append()).turn.id
    head = (await ledger.append(contents=exchange(parent_turn_id=root))).turn.id
    for fields, reason in (
        ({"summarized_through_turn_id": aside}, "TURN_NOT_ON_PATH"),
        ({"summarized_through_turn_id": "gone"}, "TURN_NOT_FOUND"),
        ({"summarized_through_turn_id": root, "first_kept_turn_id": aside}, "TURN_NOT_ON_PATH"),
        ({"summarized_through_turn_id": head, "first_kept_turn_id": root}, "TURN_NOT_ON_PATH"),
        ({"summarized_through_turn_id": head, "first_kept_turn_id": head}, "TURN_NOT_ON_PATH"),
        ({"summary": ""}, "FIELD_INVALID"),
        ({"model": ""}, "FIELD_INVALID"),
    ):
        given: dict[str, Any] = {"summary": "s", "model": "m", **fields}
        compaction = turns_pb2.Compaction(**given)
        with pytest.raises(aio.AioRpcError) as error:
            await ledger.calls.CompactSession(calls.CompactSessionRequest(session_label="mom", compaction=compaction))
        assert reason_of(error.value) == reason
    assert await ledger.head() == head
