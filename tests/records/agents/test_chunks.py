"""Foreign sessions that come in parts: any order, any garbage, and the codes that importers know."""

from __future__ import annotations

import base64
import gzip
import random
from typing import Any

import pytest
from google.protobuf import json_format
from grpc import aio
from harness.conversations import Ledger, said
from harness.failures import info_of, reason_of
from harness.records import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet._ledgers import PART, Import, parts
from quartet.agents.v1 import contents_pb2, imports_pb2, turn_calls_pb2, turns_pb2
from quartet.agents.v1 import import_calls_pb2 as pb
from quartet_server.agent_errors import ImportChunkInvalid
from quartet_server.agents import chunks

RUN = Import("quartet", run_id="run")


def session(*texts: str, fingerprint: str = "1") -> pb.ImportItem:
    """Return a foreign session of a turn."""
    messages = [said(text, id=f"m{place}") for place, text in enumerate(texts)]
    turn = contents_pb2.TurnContents(turn=turns_pb2.Turn(id="t"), messages=messages)
    names: dict[str, Any] = {
        "source_provider": "codex",
        "source_session_id": "s",
        "source_session_fingerprint": fingerprint,
    }
    return pb.ImportItem(**names, turns=[turn])


def part(data: str, *, index: int = 0, total: int = 1, **fields: object) -> pb.ImportSessionChunkRequest:
    """Return a part of an upload."""
    usual: dict[str, object] = {
        "source": "quartet",
        "mode": imports_pb2.IMPORT_MODE_BACKFILL,
        "idempotency_key": "k",
        "upload_id": "u",
        "encoding": "gzip+base64",
        "source_provider": "codex",
        "source_session_id": "s",
        "source_session_fingerprint": "1",
    }
    return pb.ImportSessionChunkRequest(data=data, chunk_index=index, chunk_total=total, **{**usual, **fields})  # type: ignore[arg-type]


def packed(text: bytes) -> str:
    """Return bytes as an upload has them."""
    return base64.b64encode(gzip.compress(text)).decode()


def cut(text: str, count: int) -> list[str]:
    """Return a text in so many parts."""
    size = -(-len(text) // count)
    return [text[place * size : (place + 1) * size] for place in range(count)]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_large_session_comes_in_parts_in_any_order_and_each_may_come_twice(ledger: Ledger) -> None:
    noise = random.Random(5)
    item = session(*(noise.randbytes(450_000).hex() for _ in range(2)))
    requests = list(parts(item, RUN, "k"))
    assert len(requests) > 1
    assert all(len(one.data) <= PART for one in requests)
    order = [*requests[1:], requests[1], requests[0]]
    answers = [await ledger.calls.ImportSessionChunk(one) for one in order]
    assert [one.status for one in answers[:-1]] == [pb.CHUNK_STATUS_STAGED] * (len(order) - 1)
    done = answers[-1]
    assert (done.status, done.result.imported) == (pb.CHUNK_STATUS_COMPLETED, 1)
    assert done.result.results[0].messages == 2
    assert await ledger.calls.ImportSessionChunk(order[-1]) == done
    whole = await ledger.calls.GetTurn(turn_calls_pb2.GetTurnRequest(id="t"))
    assert whole.messages[0].message.content == item.turns[0].messages[0].message.content


@pytest.mark.asyncio(loop_scope="session")
async def test_parts_wait_an_hour_for_the_others(ledger: Ledger, clock: Clock) -> None:
    first, second = cut(packed(json_format.MessageToJson(session("x")).encode()), 2)
    await ledger.calls.ImportSessionChunk(part(first, index=0, total=2))
    clock.now += 3601
    late = await ledger.calls.ImportSessionChunk(part(second, index=1, total=2))
    assert (late.status, late.received) == (pb.CHUNK_STATUS_STAGED, 1)
    done = await ledger.calls.ImportSessionChunk(part(first, index=0, total=2))
    assert done.result.imported == 1


WHOLE = packed(json_format.MessageToJson(session("x")).encode())


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (part("x", upload_id=""), "chunk_upload_id_required"),
        (part("x", index=2, total=2), "chunk_index_out_of_range"),
        (part("x", index=-1, total=2), "chunk_index_out_of_range"),
        (part("x", index=0, total=65), "chunk_index_out_of_range"),
        (part("x", index=1, total=3), "chunk_total_mismatch"),
        (part("x", index=1, total=2, mode=imports_pb2.IMPORT_MODE_TAIL), "chunk_mode_mismatch"),
        (part("x", index=1, total=2, idempotency_key="other"), "chunk_idempotency_key_mismatch"),
        (part("x", index=1, total=2, encoding="zip"), "chunk_encoding_mismatch"),
        (part("x", index=1, total=2, source_provider="x"), "chunk_item_source_provider_mismatch"),
        (part("x", index=1, total=2, source_session_id="x"), "chunk_item_source_session_id_mismatch"),
        (part("x", index=1, total=2, source_session_fingerprint="x"), "chunk_item_source_session_fingerprint_mismatch"),
        (part("!!!", upload_id="v"), "chunk_payload_decode_failed"),
        (part("AAAA", upload_id="v"), "chunk_payload_decode_failed"),
        (part(WHOLE[: len(WHOLE) // 8 * 4], upload_id="v"), "chunk_payload_decode_failed"),
        (part(packed(b"[]"), upload_id="v"), "chunk_payload_json_invalid"),
        (part(packed(b"{"), upload_id="v"), "chunk_payload_json_invalid"),
        (part(packed(b"\xff"), upload_id="v"), "chunk_payload_json_invalid"),
        (part(packed(b'{"colour": 1}'), upload_id="v"), "chunk_payload_json_invalid"),
        (part(packed(b"[" * 100_000), upload_id="v"), "chunk_payload_json_invalid"),
        (part(WHOLE, upload_id="v", source_provider="x"), "chunk_item_source_provider_mismatch"),
        (part(WHOLE, upload_id="v", source_session_id="x"), "chunk_item_source_session_id_mismatch"),
        (part(WHOLE, upload_id="v", source_session_fingerprint="2"), "chunk_item_source_session_fingerprint_mismatch"),
    ],
)
async def test_a_part_that_is_wrong_has_the_code_that_importers_know(
    ledger: Ledger, wrong: pb.ImportSessionChunkRequest, code: str
) -> None:
    await ledger.calls.ImportSessionChunk(part("x", index=0, total=2))
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.ImportSessionChunk(wrong)
    assert (reason_of(error.value), info_of(error.value).metadata["code"]) == ("IMPORT_CHUNK_INVALID", code)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_zone_has_so_many_parts_waiting_and_no_more(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MOST_STAGED", 2)
    for upload in "ab":
        await ledger.calls.ImportSessionChunk(part("x", total=2, upload_id=upload))
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.ImportSessionChunk(part("x", total=2, upload_id="c"))
    assert reason_of(error.value) == "LIMIT_REACHED"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("wrong", [part(""), part("x" * (PART + 1)), part("x", mode=0), part("x", source="")])
async def test_a_part_that_can_be_none_is_refused(ledger: Ledger, wrong: pb.ImportSessionChunkRequest) -> None:
    with pytest.raises(aio.AioRpcError) as error:
        await ledger.calls.ImportSessionChunk(wrong)
    assert reason_of(error.value) == "FIELD_INVALID"


def test_what_would_be_too_large_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "UNPACKED_BYTES", 1000)
    with pytest.raises(ImportChunkInvalid) as error:
        chunks.unpack(part("x"), [packed(b" " * 1001)])
    assert error.value.metadata["code"] == "chunk_payload_decode_failed"


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_the_parts_are_they_are_a_session_or_have_a_code(data: st.DataObject) -> None:
    text = bytearray(json_format.MessageToJson(session("x", "é\n")).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        text = text or bytearray(b" ")
    upload = bytearray(packed(bytes(text)).encode())
    for _ in range(data.draw(st.sampled_from([0, 0, 1, 2]))):
        upload[data.draw(st.integers(0, len(upload) - 1))] = data.draw(st.integers(32, 126))
    code = provider = ""
    try:
        provider = chunks.unpack(part("x"), cut(upload.decode(), data.draw(st.integers(1, 5)))).source_provider
    except ImportChunkInvalid as error:
        code = error.metadata["code"]
    assert provider == "codex" or code.startswith("chunk_")
