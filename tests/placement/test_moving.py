"""A zone moves with every row it has, whatever is stopped meanwhile, and what refers to what is the same afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from harness.homes import Home, Methods, called, homes, retried
from harness.leaves import LEAVES, TREE, plant
from harness.records import NOTES
from harness.rpc import failure
from quartet_server.cluster import zones
from quartet_server.meta.times import timestamps
from quartet_server.placement import moving, placed, rows
from quartet_server.placement.wire import Sum
from quartet_server.records.contract import Databases, Session

from raftmeta.metastore import Metastore

pytestmark = pytest.mark.asyncio(loop_scope="session")
RED, BLUE = (("quartet-zone", "red"),), (("quartet-zone", "blue"),)
PATIENCE = 40.0
now = timestamps(lambda: 1_700_000_000.0)


NOTE = NOTES.metadata.tables["notes"]


def _methods(databases: Databases) -> Methods:
    notes, tree = databases.database("notes"), databases.database("tree")

    async def put(request: StringValue, context: Any) -> StringValue:
        """Insert a note under the next number; an id that is there is found again."""
        zone = dict(context.invocation_metadata())["quartet-zone"]

        def work(session: Session) -> str:
            known = session.connection.execute(
                sa.select(NOTE.c.number).where(NOTE.c.zone == zone, NOTE.c.id == request.value)
            ).scalar()
            if known is not None:
                return str(known)
            top = sa.select(sa.func.coalesce(sa.func.max(NOTE.c.number), 0) + 1).where(NOTE.c.zone == zone)
            number = session.connection.execute(top).scalar_one()
            session.connection.execute(sa.insert(NOTE).values(zone=zone, id=request.value, number=number, text="t"))
            return str(number)

        return StringValue(value=await notes.write(zone, work))

    async def search(request: StringValue, context: Any) -> StringValue:
        zone = dict(context.invocation_metadata())["quartet-zone"]

        def work(session: Session) -> str:
            found = session.connection.execute(
                sa.text(
                    "SELECT l.id FROM leaves_fts f JOIN leaves l ON l.rowid = f.rowid"
                    " WHERE leaves_fts MATCH :words AND l.zone = :zone ORDER BY rank, l.id"
                ),
                {"words": request.value, "zone": zone},
            ).scalars()
            return ",".join(found)

        return StringValue(value=await tree.read(zone, work))

    async def watch(request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="on")
        await asyncio.Event().wait()

    return {"Put": ("unary", put), "Search": ("unary", search), "Watch": ("server", watch)}


async def _sums(node: Home, zone: str) -> dict[str, Sum]:
    return {
        one.table.name: await rows.whole(node.databases.database(one.database), zone, one.table)
        for one in rows.passes([NOTES, TREE])
        if not one.second
    }


def _cluster(store: Metastore, folder: Path, **options: Any) -> Any:
    return homes(store, folder, "n1", "n2", "n3", methods=_methods, schemas=(NOTES, TREE), **options)


async def _arrived(store: Metastore, zone: str, home: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while (now := await zones.get(store, zone)).home != home or now.HasField("move"):
            await asyncio.sleep(0.02)


async def _until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_everything_goes_with_a_zone_and_nothing_stays(store: Metastore, tmp_path: Path) -> None:
    async with _cluster(store, tmp_path) as cluster:
        n1, n2 = cluster.nodes["n1"], cluster.nodes["n2"]
        async with n1.channel() as near, n2.channel() as far:
            for metadata in (RED, BLUE):
                await called(near, "unary", "Put")(StringValue(value="first"), metadata=metadata)
            for zone in ("red", "blue"):
                await plant(n1.databases.database("tree"), zone, 1203)
            before, others = await _sums(n1, "red"), await _sums(n1, "blue")
            assert before["leaves"].rows == 1203
            found = await called(near, "unary", "Search")(StringValue(value="elm"), metadata=RED)
            watch = called(near, "server", "Watch")(StringValue(), metadata=RED)
            assert (await watch.read()).value == "on"
            await zones.move(store, "red", "n2", "m1", now())
            await _arrived(store, "red", "n2")
            assert await _sums(n2, "red") == before
            for channel in (near, far):
                again = await retried(called(channel, "unary", "Search"), StringValue(value="elm"), RED)
                assert again.value == found.value
            assert (await retried(called(near, "unary", "Put"), StringValue(value="second"), RED)).value == "2"
            with pytest.raises(aio.AioRpcError) as ended:  # who watched at the old home is sent to the new one
                await watch.read()
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE

        async def gone() -> bool:
            return not any(one.rows for one in (await _sums(n1, "red")).values())

        await _until(gone)
        assert await _sums(n1, "blue") == others
        broken = await n1.databases.database("tree").read(
            "red", lambda session: session.connection.execute(sa.text("SELECT count(*) FROM leaves_fts")).scalar_one()
        )
        assert broken == 1203  # blue's; what red had is out of the index too
        assert await _left(store) == []


async def _left(store: Metastore) -> list[str]:
    async def none() -> bool:
        return not [zone for name in ("n1", "n2", "n3") for zone in await placed.left(store, name)]

    await _until(none)
    return []


async def test_a_zone_that_moves_is_read_and_not_written_until_the_move_is_stopped(
    store: Metastore, tmp_path: Path
) -> None:
    async with _cluster(store, tmp_path) as cluster:
        n1 = cluster.nodes["n1"]
        await cluster.stop("n2")
        async with n1.channel() as channel:
            put, search = called(channel, "unary", "Put"), called(channel, "unary", "Search")
            await put(StringValue(value="first"), metadata=RED)
            await plant(n1.databases.database("tree"), "red", 10)
            await zones.move(store, "red", "n2", "m1", now())

            async def refused() -> bool:
                try:
                    await put(StringValue(value="x"), metadata=RED)
                except aio.AioRpcError:
                    return True
                return False

            await _until(refused)
            got = await failure(put(StringValue(value="y"), metadata=RED))
            assert got.info is not None
            assert (got.info.reason, got.info.metadata["node"]) == ("ZONE_MOVING", "n2")
            assert got.retry_after
            assert (await search(StringValue(value="oak"), metadata=RED)).value

            async def troubled() -> bool:
                return "n2" in (await zones.get(store, "red")).move.problem

            await _until(troubled)
            stayed = await zones.stop_move(store, "red")
            assert (stayed.home, stayed.HasField("move")) == ("n1", False)
            await retried(put, StringValue(value="z"), RED)


async def test_a_move_that_cannot_get_on_is_given_up(store: Metastore, tmp_path: Path) -> None:
    async with _cluster(store, tmp_path, patience=0.5) as cluster:
        await cluster.stop("n2")
        async with cluster.nodes["n1"].channel() as channel:
            await called(channel, "unary", "Put")(StringValue(value="first"), metadata=RED)
            await zones.move(store, "red", "n2", "m1", now())
            await _arrived(store, "red", "n1")
            await retried(called(channel, "unary", "Put"), StringValue(value="second"), RED)


@pytest.mark.parametrize("victim", ["n1", "n2"])
async def test_no_row_is_lost_or_doubled_when_a_home_is_stopped_in_a_move_under_load(
    store: Metastore, tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number that was acknowledged is there once; the counter went on without a gap."""
    monkeypatch.setattr(rows, "PAGE", 20)  # many steps, between which to stop it
    async with _cluster(store, tmp_path) as cluster:
        ports = {name: int(node.address.rpartition(":")[2]) for name, node in cluster.nodes.items()}
        acknowledged: dict[str, int] = {}
        async with cluster.nodes["n3"].channel() as channel:
            put = called(channel, "unary", "Put")
            await called_at(cluster.nodes["n1"], "start")
            await plant(cluster.nodes["n1"].databases.database("tree"), "red", 400)
            before = (await _sums(cluster.nodes["n1"], "red"))["leaves"]
            over = asyncio.Event()

            async def load(name: str) -> None:
                number = 0
                while not over.is_set() or number < 5:
                    id_ = f"{name}-{number}"
                    acknowledged[id_] = int((await retried(put, StringValue(value=id_), RED)).value)
                    number += 1

            writers = [asyncio.create_task(load(f"w{i}")) for i in range(4)]
            await zones.move(store, "red", "n2", "m1", now())

            async def midway() -> bool:
                return (await zones.get(store, "red")).move.total_rows > 0

            await _until(midway)
            await cluster.stop(victim)
            await cluster.start(victim, _methods, ports[victim])
            await _arrived(store, "red", "n2")
            over.set()
            await asyncio.gather(*writers)
        n2 = cluster.nodes["n2"]
        stored = await n2.databases.database("notes").read("red", lambda session: dict(_notes(session)))
        assert {key: stored[key] for key in acknowledged} == acknowledged
        assert sorted(stored.values()) == list(range(1, len(stored) + 1))
        assert (await _sums(n2, "red"))["leaves"] == before
        assert await _left(store) == []
        assert not any(one.rows for one in (await _sums(cluster.nodes["n1"], "red")).values())


async def called_at(node: Home, id_: str) -> None:
    async with node.channel() as channel:
        await called(channel, "unary", "Put")(StringValue(value=id_), metadata=RED)


def _notes(session: Session) -> list[tuple[str, int]]:
    found = session.connection.execute(sa.select(NOTE.c.id, NOTE.c.number).where(NOTE.c.zone == session.zone))
    return [(row.id, row.number) for row in found]


async def test_what_arrived_otherwise_is_sent_again(
    store: Metastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something of the zone was on the other node already, of which nobody knew."""
    async with _cluster(store, tmp_path) as cluster:
        await called_at(cluster.nodes["n1"], "first")
        await plant(cluster.nodes["n1"].databases.database("tree"), "red", 50)
        spoilt: list[bool] = []
        compare = moving._Trip._compare

        async def spoil(trip: Any, receiver: Any) -> None:
            if not spoilt:
                spoilt.append(True)
                database = cluster.nodes["n2"].databases.database("tree")
                await database.write(
                    "red", lambda s: s.connection.execute(sa.update(LEAVES).values(text="else")) and None
                )
            await compare(trip, receiver)

        monkeypatch.setattr(moving._Trip, "_compare", spoil)
        before = await _sums(cluster.nodes["n1"], "red")
        await zones.move(store, "red", "n2", "m1", now())
        await _arrived(store, "red", "n2")
        assert spoilt
        assert await _sums(cluster.nodes["n2"], "red") == before


async def test_a_zone_that_was_on_its_way_somewhere_moves_there_and_back(store: Metastore, tmp_path: Path) -> None:
    async with _cluster(store, tmp_path) as cluster:
        await called_at(cluster.nodes["n1"], "first")
        await plant(cluster.nodes["n1"].databases.database("tree"), "red", 60)
        before = await _sums(cluster.nodes["n1"], "red")
        for number, home in enumerate(("n2", "n1", "n3", "n1")):
            await zones.move(store, "red", home, f"m{number}", now())
            await _arrived(store, "red", home)
            assert await _sums(cluster.nodes[home], "red") == before
            assert [await zones.living_on(store, name) for name in cluster.nodes] == [
                ["red"] if name == home else [] for name in cluster.nodes
            ]
        assert (await zones.get(store, "red")).moves == 4
        assert await _left(store) == []
        assert await _sums(cluster.nodes["n1"], "red") == before


async def test_who_receives_refuses_what_belongs_to_no_move(store: Metastore, tmp_path: Path) -> None:
    from quartet.cluster.peers.v1 import peers_pb2 as pb
    from quartet.cluster.peers.v1 import peers_pb2_grpc

    async with _cluster(store, tmp_path) as cluster:
        await called_at(cluster.nodes["n1"], "first")
        async with cluster.nodes["n1"].channel() as channel:
            stub = peers_pb2_grpc.TransferServiceStub(channel)
            got = await failure(stub.BeginTransfer(pb.BeginTransferRequest(zone="red", move="m")))
            assert got.info is not None
            assert got.info.reason == "MOVE_REFUSED"
            got = await failure(stub.StoreRows(iter([pb.StoreRowsRequest(zone="red", move="m")])))
            assert got.info is not None
            assert got.info.reason == "MOVE_REFUSED"
        assert (await _sums(cluster.nodes["n1"], "red"))["notes"].rows == 1
