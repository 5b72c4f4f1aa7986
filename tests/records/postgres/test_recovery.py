"""A PostgreSQL that goes away, refuses transactions, or is used by several nodes."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
import sqlalchemy as sa
from harness.postgres import superuser_url
from harness.records import TABLE, Opening
from quartet_server.errors import Contention, OutcomeUnknown
from quartet_server.record_errors import DatabaseUnreachable
from quartet_server.records.contract import Database, Session, Work
from quartet_server.records.pgpreparing import prepare_postgres
from quartet_server.records.postgres import LANES, PostgresServer, lock_of

END_OTHERS = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = 'quartet' AND pid <> pg_backend_pid()"
)


def end_connections(opening: Opening) -> None:
    with psycopg.connect(superuser_url(opening.url), autocommit=True) as superuser:
        superuser.execute(END_OTHERS.encode())


ZONES = [f"z{number}" for number in range(64)]


def same_lane(count: int) -> list[str]:
    return [zone for zone in ZONES if lock_of("notes", zone) % LANES == 0][:count]


def put(key: str) -> Work[str]:
    def work(session: Session) -> str:
        session.connection.execute(TABLE.insert().values(zone=session.zone, id=key))
        return key

    return work


def keys(session: Session) -> list[str]:
    return list(session.connection.execute(sa.select(TABLE.c.id).order_by(TABLE.c.id)).scalars())


def add(session: Session) -> int:
    number = int(session.connection.execute(sa.select(TABLE.c.number)).scalar_one())
    session.connection.execute(TABLE.update().values(number=number + 1))
    return number + 1


async def test_connections_that_the_server_has_closed_are_opened_again(opening: Opening, database: Database) -> None:
    for number in range(3):
        assert await database.write("a", put(f"k{number}")) == f"k{number}"
        assert len(await database.read("a", keys)) == number + 1
        end_connections(opening)
    assert await database.read("a", keys) == ["k0", "k1", "k2"]


async def test_a_write_whose_connection_is_lost_is_run_again(opening: Opening, database: Database) -> None:
    runs = []

    def work(session: Session) -> int:
        put("k")(session)
        runs.append(session.now)
        if len(runs) == 1:
            end_connections(opening)
        return len(keys(session))

    assert await database.write("a", work) == 1
    assert len(runs) == 2
    assert await database.read("a", keys) == ["k"]


async def test_a_read_whose_connection_is_lost_is_run_again(opening: Opening, database: Database) -> None:
    await database.write("a", put("k"))
    runs = []

    def work(session: Session) -> list[str]:
        runs.append(1)
        if len(runs) == 1:
            end_connections(opening)
        return keys(session)

    assert await database.read("a", work) == ["k"]
    assert len(runs) == 2


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_transaction_that_is_refused_is_run_again_with_all_that_is_in_it(
    database: Database, state: str
) -> None:
    runs = []

    def refused(session: Session) -> str:
        runs.append(1)
        if len(runs) == 1:
            session.cursor().execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$")
        return "done"

    results = await asyncio.gather(
        *(database.write("a", put(f"k{number}")) for number in range(5)), database.write("a", refused)
    )
    assert results == ["k0", "k1", "k2", "k3", "k4", "done"]
    assert len(runs) == 2
    assert await database.read("a", keys) == ["k0", "k1", "k2", "k3", "k4"]


async def test_one_that_is_always_refused_is_given_up(database: Database) -> None:
    runs = []

    def refused(session: Session) -> None:
        runs.append(1)
        session.cursor().execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")

    with pytest.raises(Contention):
        await database.write("a", refused)
    assert 1 < len(runs) < 10
    assert await database.write("a", put("k")) == "k"


async def test_a_write_that_hides_a_failed_statement_is_no_success(database: Database) -> None:
    """The server would answer its COMMIT with a rollback, without a word."""

    def hides(session: Session) -> str:
        put("k")(session)
        with pytest.raises(sa.exc.IntegrityError):
            put("k")(session)
        return "all well"

    with pytest.raises(RuntimeError, match="went on"):
        await database.write("a", hides)
    assert await database.read("a", keys) == []


async def test_a_commit_whose_outcome_nobody_knows_says_so(opening: Opening, database: Database) -> None:
    """A trigger that runs within COMMIT ends the connection from which it was sent."""
    with psycopg.connect(superuser_url(opening.url), autocommit=True) as superuser:
        superuser.execute(
            "CREATE FUNCTION notes.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(20); RETURN NULL; END'"
        )
        superuser.execute(
            "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON notes.notes DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION notes.die()"
        )
        with pytest.raises(OutcomeUnknown):
            await database.write("a", put("k"))
        superuser.execute("DROP TRIGGER die ON notes.notes")
    assert await database.write("a", put("later")) == "later"


async def test_a_server_that_is_not_there_is_said_to_be(tmp_path: object) -> None:
    with pytest.raises(DatabaseUnreachable) as raised:
        await asyncio.to_thread(prepare_postgres, f"postgresql://quartet@/none?host={tmp_path}", [])
    assert raised.value.retry_after


async def test_nodes_that_share_a_database_write_a_zone_in_turn(opening: Opening, database: Database) -> None:
    other = await opening.database_again()
    await database.write("a", put("counter"))
    told = await asyncio.gather(*((database, other)[number % 2].write("a", add) for number in range(60)))
    assert sorted(told) == list(range(1, 61))


async def test_zones_are_written_at_once(database: Database) -> None:
    """A write of one zone waits for that of another, which would never end if they came one after the other."""
    meeting = threading.Barrier(2)

    def meet(_session: Session) -> None:
        meeting.wait(20)

    second = next(zone for zone in ZONES if lock_of("notes", zone) % LANES != lock_of("notes", "a") % LANES)
    await asyncio.gather(database.write("a", meet), database.write(second, meet))


async def test_zones_of_a_lane_are_committed_together(database: Database) -> None:
    hold = threading.Event()

    def wait(_session: Session) -> None:
        assert hold.wait(20)

    zones = same_lane(6)
    first = asyncio.create_task(database.write(zones[0], wait))
    others = [asyncio.create_task(database.write(zones[n % 6], put(f"k{n}"))) for n in range(60)]
    await asyncio.sleep(0)
    hold.set()
    assert await asyncio.gather(first, *others) == [None, *(f"k{n}" for n in range(60))]
    writers = database.writers  # type: ignore[attr-defined]
    assert sum(one.counts.groups for one in writers) < 20
    for place, zone in enumerate(zones):
        assert await database.read(zone, keys) == sorted(f"k{n}" for n in range(60) if n % 6 == place)


async def test_a_zone_that_another_node_writes_holds_up_no_group_that_has_begun(
    opening: Opening, database: Database
) -> None:
    first, second = same_lane(2)
    with psycopg.connect(opening.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (lock_of("notes", second),))
        waiting = [asyncio.create_task(database.write(zone, put("k"))) for zone in (first, second)]
        assert await waiting[0] == "k"
        assert not waiting[1].done()
        other.execute("SELECT pg_advisory_unlock_all()")
        assert await waiting[1] == "k"


async def test_of_writes_of_several_zones_one_fails_alone(database: Database) -> None:
    zones = same_lane(3)
    for zone in zones:
        await database.write(zone, put("taken"))
    keys_of = ["taken" if n % 4 == 0 else f"k{n}" for n in range(24)]
    told = await asyncio.gather(
        *(database.write(zones[n % 3], put(key)) for n, key in enumerate(keys_of)), return_exceptions=True
    )
    assert [isinstance(one, sa.exc.IntegrityError) for one in told] == [key == "taken" for key in keys_of]
    for place, zone in enumerate(zones):
        mine = {key for n, key in enumerate(keys_of) if n % 3 == place}
        assert set(await database.read(zone, keys)) == mine | {"taken"}


async def test_time_is_the_servers_where_nobody_gives_another(opening: Opening, database: Database) -> None:
    """The clocks of nodes that share a database may differ."""
    server = PostgresServer(opening.url, new_id=str)
    other = server.database("notes", '"notes"', queue=10)

    def both(session: Session) -> tuple[int, int]:
        query = sa.text("SELECT (extract(epoch FROM now()) * 1000000)::bigint")
        return session.now, int(session.connection.execute(query).scalar_one())

    told, began = await other.write("a", both)
    await other.close()
    await server.close()
    assert 0 <= told - began < 60_000_000
