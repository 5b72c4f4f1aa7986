"""Row-level security: what a statement that forgot the zone can see, and whom the policies bind."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from harness.postgres import superuser_url
from harness.records import TABLE, Opening
from quartet_server.record_errors import DatabaseUnsuitable
from quartet_server.records.contract import Database, Session
from quartet_server.records.pgpreparing import prepare_postgres
from quartet_server.records.roles import SERVICE

EVERY = "SELECT zone, id FROM notes.notes ORDER BY zone, id"


def put(session: Session) -> None:
    session.connection.execute(TABLE.insert().values(zone=session.zone, id="k"))


@pytest.fixture
def connection(opening: Opening, database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of the user that nodes connect as, acting as services do."""
    with psycopg.connect(opening.url, autocommit=True) as made:
        made.execute(f"SET ROLE {SERVICE}")
        yield made


async def test_a_statement_that_names_no_zone_sees_and_changes_the_rows_of_its_own(database: Database) -> None:
    for zone in ("a", "b"):
        await database.write(zone, put)

    def zones(session: Session) -> list[str]:
        return list(session.connection.execute(sa.select(TABLE.c.zone)).scalars())

    def clear(session: Session) -> int:
        return session.connection.execute(sa.delete(TABLE)).rowcount

    assert await database.read("a", zones) == ["a"]
    assert await database.write("b", clear) == 1
    assert (await database.read("a", zones), await database.read("b", zones)) == (["a"], [])


async def test_a_row_cannot_be_put_into_another_zone_nor_moved_there(database: Database) -> None:
    await database.write("a", put)

    def insert(session: Session) -> None:
        session.connection.execute(TABLE.insert().values(zone="b", id="x"))

    def move(session: Session) -> None:
        session.connection.execute(TABLE.update().values(zone="b"))

    for work in (insert, move):
        with pytest.raises(sa.exc.ProgrammingError, match="row-level security"):
            await database.write("a", work)


@pytest.mark.parametrize("zone", [None, "", "c", "*"])
async def test_who_names_no_zone_or_another_sees_nothing(
    database: Database, connection: psycopg.Connection[tuple[object, ...]], zone: str | None
) -> None:
    await database.write("a", put)
    if zone is not None:
        connection.execute("SELECT set_config('quartet.zone', %s, false)", (zone,))
    assert connection.execute(EVERY.encode()).fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("INSERT INTO notes.notes (zone, id) VALUES ('a', 'new')")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE notes.notes DISABLE ROW LEVEL SECURITY",
        "DROP POLICY zone ON notes.notes",
        "TRUNCATE notes.notes",
        "CREATE TABLE notes.other (id TEXT)",
    ],
)
def test_services_cannot_change_the_fence(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


async def test_the_owner_of_the_tables_is_bound_too_unless_it_says_that_it_means_every_zone(
    opening: Opening, database: Database
) -> None:
    await database.write("a", put)
    with psycopg.connect(opening.url, autocommit=True) as owner:
        assert owner.execute(EVERY.encode()).fetchall() == []
        owner.execute("SET quartet.zone = '*'")
        assert owner.execute(EVERY.encode()).fetchall() == [("a", "k")]


async def test_a_zone_does_not_stay_with_a_connection(database: Database) -> None:
    """A connection that is used again for another zone must not see the first one's rows."""

    def zone(session: Session) -> str:
        return str(session.connection.execute(sa.text("SELECT current_setting('quartet.zone')")).scalar_one())

    assert [await database.read(one, zone) for one in ("a", "b", "it's")] == ["a", "b", "it's"]


@pytest.mark.parametrize("right", ["SUPERUSER", "BYPASSRLS"])
def test_a_role_that_could_pass_the_fence_is_refused(opening: Opening, right: str) -> None:
    prepare_postgres(opening.url, [])
    with psycopg.connect(superuser_url(opening.url), autocommit=True) as superuser:
        superuser.execute(f"ALTER ROLE {SERVICE} {right}".encode())
        try:
            with pytest.raises(DatabaseUnsuitable, match="every zone"):
                prepare_postgres(opening.url, [])
        finally:
            superuser.execute(f"ALTER ROLE {SERVICE} NO{right}".encode())


async def test_a_table_without_a_fence_keeps_the_node_from_starting(opening: Opening, database: Database) -> None:
    with psycopg.connect(opening.url, autocommit=True) as owner:
        owner.execute("ALTER TABLE notes.notes NO FORCE ROW LEVEL SECURITY")
    with pytest.raises(DatabaseUnsuitable, match="notes have no row-level security"):
        await opening.database_again()
