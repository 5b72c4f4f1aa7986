"""A node whose records are in files needs no driver of PostgreSQL."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys
sys.modules.update(psycopg=None, pgvector=None, psycopg_pool=None)
import asyncio, tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
import quartet_server.node
from quartet_server.config import Config
from quartet_server.errors import QuartetError
from quartet_server.records.engine import open_databases
from quartet_server.records.schema import schema
import sqlalchemy as sa

def tables(metadata):
    sa.Table("notes", metadata, sa.Column("zone", sa.Text, primary_key=True))

async def main(folder):
    made = schema("notes", owner="NoteService", messages=(), extra=tables)
    config = Config()
    config = replace(config, serve=replace(config.serve, data_dir=Path(folder)))
    async with AsyncExitStack() as undo:
        await open_databases(config, [made], undo)
        print("files")
    config = replace(config, records=replace(config.records, url="postgresql://nobody@localhost/none"))
    async with AsyncExitStack() as undo:
        try:
            await open_databases(config, [made], undo)
        except QuartetError as error:
            print(error.reason, error.hint)

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
"""


def test_records_in_files_need_no_psycopg_and_records_elsewhere_say_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["files", "DATABASE_UNSUITABLE pip install 'quartet[postgres]'"]
