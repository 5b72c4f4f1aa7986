"""A backup taken while everybody writes is whole, comes back, and is refused when a bit of it is another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa
from harness.databases import NOTE, Ops, opened
from harness.rpc import failure
from hypothesis import given, settings
from hypothesis import strategies as st
from quartet.ops.v1 import ops_pb2 as pb
from quartet_server.ops import sealing
from quartet_server.ops.copying import Copying
from quartet_server.ops.manifest import NAME, Manifest
from quartet_server.ops.sealing import Secret, seal, unseal
from quartet_server.ops.staging import BEFORE, put_in_place
from quartet_server.placement_errors import BackupDamaged, BackupRefused
from quartet_server.records.engine import FOLDER, OpenDatabases

CODES = grpc.StatusCode
Files = dict[str, bytes]


async def _backup(ops: Ops) -> Files:
    files: Files = {}
    name = ""
    async for told in ops.stub.Backup(pb.BackupRequest()):
        name = told.file or name
        files[name] = files.get(name, b"") + told.data
    return files


def _requests(files: Files, piece: int = 1 << 20) -> list[pb.RestoreRequest]:
    return [
        pb.RestoreRequest(file=name, data=data[at : at + piece])
        for name, data in files.items()
        for at in range(0, max(len(data), 1), piece)
    ]


async def _numbers(databases: OpenDatabases, name: str = "notes") -> list[int]:
    return await databases.database(name).read(
        "default",
        lambda session: list(session.connection.execute(sa.select(NOTE.c.number).order_by(NOTE.c.number)).scalars()),
    )


async def test_a_backup_under_load_restores_to_what_was_there_at_one_moment(ops: Ops) -> None:
    """Every write puts a number into one database, then into the other: neither may have what the earlier one lacks."""
    done, over = [0], asyncio.Event()

    async def load() -> None:
        while not over.is_set() or done[0] < 50:
            number = done[0] + 1
            await ops.put(f"n{number}", number)
            await ops.put(f"n{number}", number, database="others")
            done[0] = number

    loading = asyncio.create_task(load())
    while done[0] < 20:
        await asyncio.sleep(0)
    before = done[0]
    files = await _backup(ops)
    after = done[0]
    assert list(files) == ["notes.db", "others.db", NAME]
    over.set()
    await loading
    restored = await ops.stub.Restore(iter(_requests(files)))
    assert list(restored.databases) == ["notes", "others"]
    assert await _numbers(ops.databases) == list(range(1, done[0] + 1)), "nothing is replaced before the next start"
    await ops.databases.database("notes").close()  # type: ignore[attr-defined]
    await ops.databases.database("others").close()  # type: ignore[attr-defined]
    assert put_in_place(ops.data_dir, ops.data_dir / FOLDER)
    assert not put_in_place(ops.data_dir, ops.data_dir / FOLDER)
    assert (ops.data_dir / FOLDER / "store-id").read_bytes() == ops.disk
    assert (ops.data_dir / BEFORE / "notes.db").exists()
    async with AsyncExitStack() as undo:
        databases = opened(ops.data_dir, undo)
        notes, others = await _numbers(databases), await _numbers(databases, "others")
    assert notes == list(range(1, len(notes) + 1))
    assert others == list(range(1, len(others) + 1))
    assert before <= len(others) <= len(notes) <= after + 1
    assert len(notes) - len(others) <= 1


def _flip(name: str, at: float) -> Callable[[Files], None]:
    def damage(files: Files) -> None:
        data = bytearray(files[name])
        data[int(at * (len(data) - 1))] ^= 1
        files[name] = bytes(data)

    return damage


DAMAGE: dict[str, Callable[[Files], object]] = {
    "a bit of a page": _flip("notes.db", 0.5),
    "the first byte": _flip("notes.db", 0.0),
    "the last byte": _flip("others.db", 1.0),
    "a bit of the manifest": _flip(NAME, 0.3),
    "the end is missing": lambda files: files.update({"notes.db": files["notes.db"][:-4096]}),
    "something behind the end": lambda files: files.update({"notes.db": files["notes.db"] + b"\0"}),
    "a file is missing": lambda files: files.pop("others.db"),
    "no manifest": lambda files: files.pop(NAME),
    "a file too many": lambda files: files.update({**_first("more.db"), **files}),
    "a name that leads elsewhere": lambda files: files.update({**_first("../notes.db"), **files}),
    "files exchanged": lambda files: files.update({"notes.db": files["others.db"], "others.db": files["notes.db"]}),
}


def _first(name: str) -> Files:
    return {name: b"x"}


@pytest.mark.parametrize("what", DAMAGE)
async def test_a_damaged_backup_is_refused_and_changes_nothing(ops: Ops, what: str) -> None:
    await ops.put("n1", 1)
    files = await _backup(ops)
    DAMAGE[what](files)
    if what == "a file too many" or what == "a name that leads elsewhere":
        files = {**_first("more.db" if "many" in what else "../notes.db"), **files}
    there = {path: path.read_bytes() for path in ops.data_dir.rglob("*") if path.is_file()}
    got = await failure(ops.stub.Restore(iter(_requests(files))))
    assert got.info is not None
    assert (got.code, got.info.reason) == (CODES.DATA_LOSS, "BACKUP_DAMAGED")
    assert {path: path.read_bytes() for path in ops.data_dir.rglob("*") if path.is_file()} == there
    assert not put_in_place(ops.data_dir, ops.data_dir / FOLDER)


async def test_nothing_and_too_much_are_refused(ops: Ops) -> None:
    for requests in ([], [pb.RestoreRequest(file="notes.db", data=b"x" * (1 << 20) + b"x")]):
        got = await failure(ops.stub.Restore(iter(requests)))
        assert got.code is CODES.INVALID_ARGUMENT


async def test_one_backup_at_a_time_and_none_is_left_by_one_that_was_ended(ops: Ops) -> None:
    copying = Copying(ops.databases, ops.data_dir / FOLDER, "n1", "0", lambda: 0.0)
    first = copying.copies(ops.disk)
    assert (await anext(first))[0] == "notes.db"
    with pytest.raises(BackupRefused):
        await anext(copying.copies(ops.disk))
    await first.aclose()
    assert not (ops.data_dir / FOLDER / "backup.tmp").exists()
    assert [name async for name, _ in copying.copies(ops.disk)] == ["notes.db", "others.db", NAME]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_is_called_a_manifest_is_one_or_refused(data: bytes) -> None:
    with pytest.raises(BackupDamaged):
        Manifest.decode(data)


SECRET = Secret(b"correct horse")
SALT = bytes(16)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=6))
def test_what_is_sealed_is_unsealed_whatever_its_length(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "PIECE", 64)
        sealed = b"".join(seal(SECRET, "a", iter(pieces), SALT))
        assert b"".join(unseal(SECRET, "a", [sealed])) == b"".join(pieces)


@pytest.mark.parametrize("at", [0, 10, 27, 31, 60, 111, 200, -1])
@pytest.mark.parametrize("change", ["flipped", "cut", "another name", "another secret"])
def test_what_is_sealed_and_changed_is_refused(at: int, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "PIECE", 64)
    sealed = bytearray(b"".join(seal(SECRET, "a", [bytes(200)], SALT)))
    name, secret = "a", SECRET
    if change == "flipped":
        sealed[at] ^= 1
    elif change == "cut":
        sealed = sealed[:at]
    elif change == "another name":
        name = "b"
    else:
        secret = OTHER
    with pytest.raises(BackupDamaged):
        list(unseal(secret, name, [bytes(sealed)]))


OTHER = Secret(b"incorrect horse")


def test_a_piece_cannot_stand_in_another_s_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "PIECE", 64)
    sealed = b"".join(seal(SECRET, "a", [bytes(192)], SALT))
    head, first, second, third = sealed[:31], sealed[31:111], sealed[111:191], sealed[191:]
    for order in ((second, first, third), (first, third), (first, second)):
        with pytest.raises(BackupDamaged):
            list(unseal(SECRET, "a", [head, *order]))
