"""A node's databases as OpsService needs them: two of notes, with a reference between them and a job over one."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from grpc import aio
from quartet.ops.v1 import ops_pb2_grpc
from quartet_server.meta.times import timestamps
from quartet_server.ops.copying import Copying
from quartet_server.ops.service import OpsService
from quartet_server.records.contract import Session
from quartet_server.records.crossing import Backfill, Reference, Step
from quartet_server.records.engine import FOLDER, OpenDatabases
from quartet_server.records.schema import Schema

from harness.records import NOTES, notes_schema, open_sqlite
from harness.served import served

if TYPE_CHECKING:
    from quartet.ops.v1.ops_pb2_grpc import OpsServiceAsyncStub

OTHERS = notes_schema("others")
NOTE = NOTES.metadata.tables["notes"]


def _louder(session: Session, after: str, limit: int) -> Step:
    """Write texts in capitals, `limit` at a time."""
    query = sa.select(NOTE.c.id, NOTE.c.text).where(NOTE.c.zone == session.zone, NOTE.c.id > after)
    rows = session.connection.execute(query.order_by(NOTE.c.id).limit(limit)).all()
    quiet = [row.id for row in rows if row.text != row.text.upper()]
    session.connection.execute(
        sa.update(NOTE).where(NOTE.c.zone == session.zone, NOTE.c.id.in_(quiet)).values(text=sa.func.upper(NOTE.c.text))
    )
    return Step(len(rows), len(quiet), rows[-1].id if len(rows) == limit else "")


JOBS = (Backfill("notes.louder", "notes", "writes texts in capitals", _louder),)
REFERENCES = (Reference("notes", "notes", "text", "others", "notes"),)


@dataclass
class Ops:
    """A node as far as OpsService needs one.

    Attributes:
        stub: The service.
        databases: What it looks after.
        data_dir: The data directory.
        disk: Its id.
    """

    stub: OpsServiceAsyncStub
    databases: OpenDatabases
    data_dir: Path
    disk: bytes

    async def put(self, id_: str, number: int = 0, text: str = "t", *, database: str = "notes") -> None:
        """Insert a note into zone `default`."""
        await self._insert(database, [{"zone": "default", "id": id_, "number": number, "text": text}])

    async def put_all(self, texts: Mapping[str, str]) -> None:
        """Insert notes with these ids and texts at once."""
        await self._insert("notes", [{"zone": "default", "id": id_, "text": text} for id_, text in texts.items()])

    async def _insert(self, database: str, rows: Sequence[Mapping[str, object]]) -> None:
        await self.databases.database(database).write(
            "default", lambda session: session.connection.execute(sa.insert(NOTE), rows) and None
        )


def opened(data_dir: Path, undo: AsyncExitStack) -> OpenDatabases:
    """Open, or open again, the databases in a data directory."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    schemas: dict[str, Schema] = {"notes": NOTES, "others": OTHERS}
    databases = {name: open_sqlite(folder, one, clock=time.time) for name, one in schemas.items()}
    for database in databases.values():
        undo.push_async_callback(database.close)
    return OpenDatabases(databases, schemas, shared=False)


@asynccontextmanager
async def operated(data_dir: Path) -> AsyncIterator[Ops]:
    """OpsService over the databases in a data directory."""
    disk = uuid.uuid4().bytes
    async with AsyncExitStack() as undo:
        databases = opened(data_dir, undo)
        service = OpsService(
            databases,
            databases,
            Copying(databases, data_dir / FOLDER, "n1", "0", time.time),
            data_dir,
            disk,
            node="n1",
            version="0",
            now=timestamps(time.time),
            references=REFERENCES,
            jobs=JOBS,
        )
        address = await undo.enter_async_context(served([service]))
        channel = await undo.enter_async_context(aio.insecure_channel(address))
        yield Ops(ops_pb2_grpc.OpsServiceStub(channel), databases, data_dir, disk)
