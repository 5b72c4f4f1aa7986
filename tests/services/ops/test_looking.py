"""What operators are told of databases: health, schema, broken references; and jobs over all rows."""

from __future__ import annotations

import grpc
import pytest
import sqlalchemy as sa
from harness.databases import NOTE, Ops
from harness.rpc import failure
from quartet.ops.v1 import ops_pb2 as pb

CODES = grpc.StatusCode


async def test_a_node_answers_with_its_name(ops: Ops) -> None:
    told = await ops.stub.Ping(pb.PingRequest())
    assert (told.node, told.version) == ("n1", "0")
    assert told.HasField("now_time")


async def test_health_tells_of_every_database_what_a_person_asks_first(ops: Ops) -> None:
    told = await ops.stub.Health(pb.HealthRequest())
    assert told.healthy
    assert [one.database for one in told.databases] == ["notes", "others"]
    for one in told.databases:
        assert (one.healthy, one.wal_mode, one.foreign_keys, one.dialect) == (True, True, True, "sqlite")
        assert "notes" in one.tables
        assert one.size_bytes > 0
        assert (one.queue, one.problem) == (0, "")


async def test_a_database_that_lacks_a_table_is_not_healthy(ops: Ops) -> None:
    await ops.databases.database("notes").write(
        "default", lambda session: session.connection.execute(sa.text("DROP TABLE notes")) and None
    )
    told = await ops.stub.Health(pb.HealthRequest())
    assert not told.healthy
    assert [one.healthy for one in told.databases] == [False, True]
    assert "notes" in told.databases[0].problem
    assert (await ops.stub.Health(pb.HealthRequest(database="others"))).healthy


async def test_the_schema_is_told_as_the_code_has_it_with_rows_of_the_zone(ops: Ops) -> None:
    for i in range(3):
        await ops.put(f"a{i}")
    (told,) = (await ops.stub.DescribeSchema(pb.DescribeSchemaRequest(database="notes"))).databases
    assert (told.database, told.owner) == ("notes", "NoteService")
    table = next(one for one in told.tables if one.name == "notes")
    assert (table.rows, table.message) == (3, "")
    assert [column.name for column in table.columns] == [column.name for column in NOTE.columns]
    number = table.columns[2]
    assert (number.type, number.nullable, number.default, number.primary_key) == ("BIGINT", False, "0", False)
    assert [column.primary_key for column in table.columns] == [True, True, False, False]
    other = await ops.stub.DescribeSchema(pb.DescribeSchemaRequest(), metadata=(("quartet-zone", "red"),))
    assert {table.rows for one in other.databases for table in one.tables} == {0}


@pytest.mark.parametrize("method", ["Health", "DescribeSchema"])
async def test_a_database_that_is_not_there_is_not_found(ops: Ops, method: str) -> None:
    request = pb.HealthRequest(database="x") if method == "Health" else pb.DescribeSchemaRequest(database="x")
    got = await failure(getattr(ops.stub, method)(request))
    assert got.code is CODES.NOT_FOUND
    assert got.info is not None
    assert got.info.reason == "DATABASE_NOT_FOUND"


async def test_rows_that_name_what_another_database_does_not_have_are_found(ops: Ops) -> None:
    await ops.put_all({f"n{i}": f"o{i % 5}" if i else "" for i in range(1203)})
    for i in range(4):
        await ops.put(f"o{i}", database="others")
    found = [told async for told in ops.stub.CheckReferences(pb.CheckReferencesRequest())]
    assert found[-1].summary == pb.ReferenceSummary(references=1, checked=1202, dangling=240)
    one = found[0].dangling
    assert (one.column, one.value, one.target) == ("notes.notes.text", "o4", "others.notes.id")
    assert {told.dangling.key for told in found[:-1]} == {f"n{i}" for i in range(1203) if i % 5 == 4}


async def test_a_job_runs_over_all_rows_and_goes_on_where_it_was_ended(ops: Ops) -> None:
    for i in range(25):
        await ops.put(f"n{i:02}", text="T" if i % 5 == 0 else "t")
    assert [one.name for one in (await ops.stub.ListBackfills(pb.ListBackfillsRequest())).jobs] == ["notes.louder"]
    some = pb.BackfillRequest(job="notes.louder", batch_size=10, batches=1)
    (first,) = [told async for told in ops.stub.Backfill(some)]
    assert (first.examined, first.changed) == (10, 8)
    rest = pb.BackfillRequest(job="notes.louder", batch_size=10, resume_token=first.resume_token)
    told = [told async for told in ops.stub.Backfill(rest)]
    assert [one.examined for one in told] == [10, 15]
    assert (told[-1].changed, told[-1].resume_token) == (12, "")
    again = [told async for told in ops.stub.Backfill(pb.BackfillRequest(job="notes.louder"))]
    assert (again[-1].examined, again[-1].changed) == (25, 0)


async def test_a_job_is_refused_what_means_nothing_to_it(ops: Ops) -> None:
    for i in range(5):
        await ops.put(f"n{i}")
    (first,) = [
        told async for told in ops.stub.Backfill(pb.BackfillRequest(job="notes.louder", batch_size=2, batches=1))
    ]
    for request, zone, reason in (
        (pb.BackfillRequest(job="x"), "default", "BACKFILL_NOT_FOUND"),
        (pb.BackfillRequest(job="notes.louder", resume_token=first.resume_token), "red", "PAGE_TOKEN_INVALID"),
        (pb.BackfillRequest(job="notes.louder", resume_token="é\0"), "default", "PAGE_TOKEN_INVALID"),
        (pb.BackfillRequest(job="notes.louder", batch_size=1001), "default", "FIELD_INVALID"),
        (pb.BackfillRequest(job="notes.louder", batches=-1), "default", "FIELD_INVALID"),
    ):
        got = await failure(ops.stub.Backfill(request, metadata=(("quartet-zone", zone),)))
        assert got.info is not None
        assert got.info.reason == reason
