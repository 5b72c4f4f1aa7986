"""Join tokens: what is in them, and that nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quartet.cluster.storage.v1.storage_pb2 import JoinTicket
from quartet_server.cluster import tokens
from quartet_server.errors import JoinTokenInvalid

from raftmeta.metastore import Metastore

TICKET = JoinTicket(endpoints=["127.0.0.1:7400"], authorities=[b"der"], secure=True)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_token_carries_its_ticket_and_is_claimed_by_one_node(store: Metastore) -> None:
    token = await tokens.issue(store, 60, TICKET)
    assert not token.startswith("-")
    assert tokens.ticket_of(f" {token}\n") == TICKET
    mine, other = (tokens.claim_of(name, "127.0.0.1:1", b"") for name in ("n4", "n5"))
    assert not await tokens.claimed(store, token, mine)
    await tokens.use(store, token, mine)
    await tokens.use(store, token, mine)
    assert await tokens.claimed(store, token.partition(".")[0], mine)
    for attempt in (tokens.claimed, tokens.use):
        with pytest.raises(JoinTokenInvalid, match="used up"):
            await attempt(store, token, other)
    with pytest.raises(JoinTokenInvalid, match="unknown or expired"):
        await tokens.claimed(store, "guessed", mine)


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused(text: str) -> None:
    try:
        ticket = tokens.ticket_of(text)
    except ValueError:
        return
    assert ticket.endpoints
