"""Who may see which rows in PostgreSQL: the role that services act as, and the policies that keep it inside a zone.

Tables belong to the role that migrates. Services act as `quartet_service`, which owns nothing and cannot log in, and see the
rows of the zone that a transaction has named in `quartet.zone`, none where it named none
(https://www.postgresql.org/docs/current/ddl-rowsecurity.html). The owner is bound by the policies too (FORCE); what looks
after all zones says so with the zone `*`, which services cannot.
"""

from __future__ import annotations

import sqlalchemy as sa

from quartet_server.record_errors import DatabaseUnsuitable
from quartet_server.records.schema import ZONE

SERVICE = "quartet_service"
EVERY_ZONE = "*"
"""What the owner of the tables names in `quartet.zone` to see all rows; no zone can be called so."""
OLDEST = 140_000
"""server_version_num of the oldest PostgreSQL that this is for."""
_MINE = f"{ZONE} = NULLIF(current_setting('quartet.zone', true), '')"
_ALL = f"current_setting('quartet.zone', true) = '{EVERY_ZONE}'"
_CREATE_ROLE_HINT = f"as a superuser: CREATE ROLE {SERVICE} NOLOGIN; GRANT {SERVICE} TO the user of records.url"


def ensure_service_role(connection: sa.Connection) -> None:
    """Make the role that services act as, unless it is there, and let the connected role act as it.

    Raises DatabaseUnsuitable where the connected role may not.
    """
    number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    if number < OLDEST:
        raise DatabaseUnsuitable(
            f"PostgreSQL {number // 10_000} is too old", hint=f"PostgreSQL {OLDEST // 10_000} or newer"
        )
    try:
        with connection.begin_nested():
            if not _found(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", SERVICE):
                connection.exec_driver_sql(f'CREATE ROLE "{SERVICE}" NOLOGIN')
    except sa.exc.DBAPIError as error:
        if not _found(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", SERVICE):  # or another node was quicker
            raise DatabaseUnsuitable(f"the role {SERVICE} cannot be made", hint=_CREATE_ROLE_HINT) from error
    try:
        with connection.begin_nested():
            if not may_act(connection):
                connection.exec_driver_sql(f'GRANT "{SERVICE}" TO CURRENT_USER')
    except sa.exc.DBAPIError as error:
        if not may_act(connection):
            text = f"the user of the database may not act as {SERVICE}"
            raise DatabaseUnsuitable(text, hint=_CREATE_ROLE_HINT) from error


def may_act(connection: sa.Connection) -> bool:
    """Tell whether the connected role may `SET ROLE` to the one of services."""
    kind = "SET" if _version(connection) >= 160_000 else "MEMBER"
    return bool(connection.exec_driver_sql("SELECT pg_has_role(current_user, %s, %s)", (SERVICE, kind)).scalar_one())


def check_service_role(connection: sa.Connection) -> None:
    """Make sure that services cannot pass the policies. Raises DatabaseUnsuitable where they could."""
    passes = connection.exec_driver_sql(
        "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = %s", (SERVICE,)
    ).scalar()
    if passes is None:
        raise DatabaseUnsuitable(
            f"there is no role {SERVICE}", hint="quartet migrate --url URL; or " + _CREATE_ROLE_HINT
        )
    if passes:
        raise DatabaseUnsuitable(
            f"the role {SERVICE} may see every zone's rows",
            hint=f"ALTER ROLE {SERVICE} NOSUPERUSER NOBYPASSRLS",
        )


def secure(connection: sa.Connection, schema: str) -> None:
    """Put a fence around each table of `schema` that has none, and let services in; to be run after every migration."""
    found = connection.exec_driver_sql(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,"
        " EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = %s AND NOT a.attisdropped),"
        " ARRAY(SELECT p.polname::text FROM pg_policy p WHERE p.polrelid = c.oid)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p')",
        (ZONE, schema),
    ).all()
    run = connection.exec_driver_sql
    run(f'GRANT USAGE ON SCHEMA "{schema}" TO "{SERVICE}"')
    for name, fenced, zoned, policies in found:
        table = f'"{schema}"."{name}"'
        if not zoned:
            run(f'GRANT SELECT ON {table} TO "{SERVICE}"')
            continue
        if not fenced:
            run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            run(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        if "zone" not in policies:
            run(f'CREATE POLICY zone ON {table} TO "{SERVICE}" USING ({_MINE}) WITH CHECK ({_MINE})')
        if "every_zone" not in policies:
            run(f"CREATE POLICY every_zone ON {table} TO CURRENT_USER USING ({_ALL}) WITH CHECK ({_ALL})")
        run(f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO "{SERVICE}"')
    run(f'GRANT USAGE ON ALL SEQUENCES IN SCHEMA "{schema}" TO "{SERVICE}"')


def unfenced(connection: sa.Connection, schema: str, *, besides: str) -> list[str]:
    """Return the tables of `schema` whose rows anybody may see who may see the table, `besides` one."""
    query = (
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname <> %s AND c.relkind IN ('r', 'p')"
        " AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY c.relname"
    )
    return list(connection.exec_driver_sql(query, (schema, besides)).scalars())


def vectors_schema(connection: sa.Connection) -> str:
    """Return the schema that has pgvector's type, which is made if that may be. Raises DatabaseUnsuitable."""
    query = (
        "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    )
    name = connection.exec_driver_sql(query).scalar()
    if name is None:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS quartet_types")
                connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS vector SCHEMA quartet_types")
                connection.exec_driver_sql(f'GRANT USAGE ON SCHEMA quartet_types TO "{SERVICE}"')
        except sa.exc.DBAPIError as error:
            raise DatabaseUnsuitable(
                "the database has no type for vectors and it cannot be made",
                hint="install pgvector; as a superuser: CREATE EXTENSION vector",
            ) from error
        name = connection.exec_driver_sql(query).scalar_one()
    return str(name)


def _found(connection: sa.Connection, query: str, *values: object) -> bool:
    return connection.exec_driver_sql(query, values).first() is not None


def _version(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
