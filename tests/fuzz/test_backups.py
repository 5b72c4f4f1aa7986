"""`restore` from files that are no whole backup: refused in words, whatever they hold; nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from fuzz.budget import rounds
from fuzz.forking import REFUSED, Commands, said_in_order
from fuzz.material import KEYS, Material
from fuzz.mutation import mutate

DIGEST = 32
PER_ROUND = 25


def sealed(archive: bytes) -> bytes:
    """Return an archive with the digest it should have."""
    return archive + hashlib.sha256(archive).digest()


def parts(backup: bytes) -> dict[str, bytes]:
    """Return the files in a backup by name."""
    with tarfile.open(fileobj=io.BytesIO(backup[:-DIGEST])) as tar:
        files = {info.name: tar.extractfile(info) for info in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def packed(files: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    """Return a sealed backup of files, with further members."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra:
            tar.addfile(info)
    return sealed(whole.getvalue())


def described(**fields: object) -> Callable[[dict[str, bytes]], bytes]:
    """Return what makes a backup whose description has other values in some fields."""

    def make(files: dict[str, bytes]) -> bytes:
        document = json.loads(files["raftmeta.json"]) | fields
        return packed({**files, "raftmeta.json": json.dumps(document).encode()})

    return make


def saying(text: bytes) -> Callable[[dict[str, bytes]], bytes]:
    return lambda files: packed({**files, "raftmeta.json": text})


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def with_member(info: tarfile.TarInfo) -> Callable[[dict[str, bytes]], bytes]:
    return lambda files: packed(files, info)


HOSTILE: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "empty file": lambda files: b"",
    "only a digest": lambda files: sealed(b""),
    "no archive": lambda files: sealed(b"x" * 512),
    "no description": lambda files: packed({name: data for name, data in files.items() if name != "raftmeta.json"}),
    "no state": lambda files: packed({"raftmeta.json": files["raftmeta.json"]}),
    "state that is none": lambda files: packed({**files, "state/data.mdb": b"cos\nsystem\n(S'exit 1'\ntR." * 400}),
    "state cut short": lambda files: packed({**files, "state/data.mdb": files["state/data.mdb"][:9000]}),
    "a number for a description": saying(b"1"),
    "a list for a description": saying(b"[]"),
    "text for a description": saying(b'"version"'),
    "null for a description": saying(b"null"),
    "a description nested too deep": saying(b"[" * 200_000),
    "a description in no encoding": saying(b"\xff\xfe\x00"),
    "a description with a long number": saying(b'{"version": ' + b"9" * 5_000 + b"}"),
    "an index that is text": described(index="1"),
    "an index that is nothing": described(index=None),
    "a negative index": described(index=-1),
    "an index beyond 64 bits": described(index=2**64),
    "another index than the state's": described(index=7),
    "a term beyond 64 bits": described(term=2**64),
    "a term that is a list": described(term=[]),
    "members that are a number": described(members=5),
    "members that are text": described(members="abc"),
    "members with unknown fields": described(members=[{"x": 1}]),
    "a member that is no object": described(members=[1]),
    "unknown fields": described(more=1),
    "another version": described(version=2),
    "a path upwards": lambda files: packed({**files, "../escaped": b"x"}),
    "an absolute path": lambda files: packed({**files, "/escaped": b"x"}),
    "a link out of it": with_member(link("state/out", "/etc/passwd", tarfile.SYMTYPE)),
    "a hard link": with_member(link("state/out", "state/data.mdb", tarfile.LNKTYPE)),
    "a device": with_member(link("state/zero", "", tarfile.CHRTYPE)),
    "a pipe": with_member(link("raftmeta.json", "", tarfile.FIFOTYPE)),
    "a directory for a file": with_member(link("raftmeta.json/x", "", tarfile.DIRTYPE)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_backup_that_was_made_up_is_refused(
    material: Material, commands: Commands, tmp_path: Path, case: str
) -> None:
    backup = tmp_path / "backup"
    backup.write_bytes(HOSTILE[case](parts(material.backup.read_bytes())))
    for flags in ((), ("--skip-hash-check",)):
        target = tmp_path / f"data{len(flags)}"
        ran = commands.run("restore", backup, "--data-dir", target, "--name", "m0", *flags)
        assert said_in_order(ran, REFUSED), ran
        assert not (target / "identity.json").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"backup", "data0", "data1"}


def test_a_damaged_backup_is_refused(material: Material, commands: Commands, tmp_path: Path) -> None:
    whole = material.backup.read_bytes()
    backup = tmp_path / "backup"
    for seed, dice in rounds(1, 0.05):
        for number in range(PER_ROUND):
            backup.write_bytes(damaged(whole, dice))
            target = tmp_path / f"{seed}-{number}"
            ran = commands.run("restore", backup, "--data-dir", target)
            assert said_in_order(ran, 0, REFUSED), (seed, number, ran)
            assert ran.status or backup.read_bytes() == whole, (seed, number)


def test_a_backup_with_damage_that_its_digest_covers_is_restored_or_refused(
    material: Material, commands: Commands, tmp_path: Path
) -> None:
    whole = material.backup.read_bytes()
    backup = tmp_path / "backup"
    for seed, dice in rounds(1, 0.05):
        for number in range(PER_ROUND):
            head = dice.randrange(4) > 0  # the archive's own fields and the description, or anything
            edge = 1024 if head else len(whole) - DIGEST
            backup.write_bytes(sealed(damaged(whole[:edge], dice) + whole[edge:-DIGEST]))
            ran = commands.run("restore", backup, "--data-dir", tmp_path / f"{seed}-{number}", "--name", "m0")
            died = ran.status == -6 and not head  # LMDB's own assertion over a page
            assert died or said_in_order(ran, 0, REFUSED), (seed, number, ran)


def test_a_whole_backup_is_restored(material: Material, commands: Commands, tmp_path: Path) -> None:
    ran = commands.run("restore", material.backup, "--data-dir", tmp_path / "data", "--name", "m0")
    assert ran.status == 0, ran
    assert json.loads(commands.run("open", tmp_path / "data").out) == KEYS


def damaged(data: bytes, dice: Random) -> bytes:
    changed = bytearray(data)
    if dice.random() < 0.7:
        for _ in range(dice.choice((1, 1, 3))):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        return bytes(changed)
    return mutate(data, dice)
