"""A member's files with changed bytes: it starts with exactly what it had, or refuses and says why; so do the tools."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import google_crc32c
import pytest
from fuzz.budget import rounds
from fuzz.forking import REFUSED, Commands, said_in_order
from fuzz.material import KEYS
from fuzz.mutation import mutate

PER_ROUND = 9
PAGE = 4096
UNVERIFIED = ("data.mdb", "lock.mdb")
"""LMDB's files: bytes of a page are not verified when they are read to answer a request, `check` reads them all."""


def damaged(data: bytes, dice: Random) -> bytes:
    """Return the bytes of a file after bad luck: flipped bits, lost pages, or anything at all."""
    kind = dice.random()
    changed = bytearray(data)
    if kind < 0.5 and data:
        for _ in range(dice.choice((1, 1, 3, 40))):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    elif kind < 0.65 and data:
        start = dice.randrange(len(changed)) // PAGE * PAGE
        changed[start : start + PAGE] = bytes(len(changed[start : start + PAGE]))
    else:
        changed = bytearray(mutate(data, dice))
    return bytes(changed)


def damage(directory: Path, dice: Random) -> Path:
    """Change one file below `directory`, or take it away; return its name relative to it."""
    path = dice.choice(sorted(path for path in directory.rglob("*") if path.is_file()))
    if dice.random() < 0.08:
        path.unlink()
    elif path.suffix == ".rec" and dice.random() < 0.5:  # as if it had been written so
        data = damaged(path.read_bytes()[4:], dice)
        path.write_bytes(google_crc32c.value(data).to_bytes(4, "big") + data)
    else:
        path.write_bytes(damaged(path.read_bytes(), dice))
    return path.relative_to(directory)


FOUND: dict[str, tuple[str, int, int]] = {
    "a record of the membership showed a traceback, and check did not look at it": (
        "raft/members/membership.rec",
        9,
        1,
    ),
    "a record's checksum": ("raft/members/membership.rec", 0, 1),
    "an entry of the log": ("raft/wal/0000000000000001.wal", 200, 1),
    "the file that names the state": ("store/CURRENT", 6, 1),
    "the file that says who this is": ("identity.json", 2, REFUSED),
}
"""Damage that was once not reported in words: file, place of a flipped byte, exit status of check."""


@pytest.mark.parametrize("case", FOUND)
def test_damage_found_before_is_reported(original: Path, commands: Commands, tmp_path: Path, case: str) -> None:
    name, place, status = FOUND[case]
    shutil.copytree(original, tmp_path / "data")
    path = tmp_path / "data" / name
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    for arguments, expected in (
        (("check", "--data-dir"), status),
        (("open",), REFUSED),
        (("force-new-cluster", "--data-dir"), REFUSED),
    ):
        ran = commands.run(*arguments, tmp_path / "data")
        assert said_in_order(ran, expected), (arguments, ran)


def test_a_member_with_damaged_files_has_all_or_refuses(original: Path, commands: Commands, tmp_path: Path) -> None:
    for seed, dice in rounds(2, 0.1):
        for number in range(PER_ROUND):
            directory = tmp_path / f"{seed}-{number}"
            shutil.copytree(original, directory)
            name = damage(directory, dice)
            if name.name in UNVERIFIED:
                continue
            ran = commands.run("open", directory)
            assert said_in_order(ran, 0, REFUSED), (seed, number, name, ran)
            assert ran.status or json.loads(ran.out) == KEYS, (seed, number, name)
            shutil.rmtree(directory)


def test_check_and_force_new_cluster_report_damage_in_words(original: Path, commands: Commands, tmp_path: Path) -> None:
    for seed, dice in rounds(1, 0.1):
        for number in range(PER_ROUND):
            directory = tmp_path / f"{seed}-{number}"
            shutil.copytree(original, directory)
            name = damage(directory, dice)
            case = (seed, number, name)
            checked = commands.run("check", "--data-dir", directory)
            assert said_in_order(checked, 0, 1, REFUSED), (*case, checked)
            forced = commands.run("force-new-cluster", "--data-dir", directory)
            ended = forced.status < 0 and name.name in UNVERIFIED  # LMDB's own assertion
            assert ended or said_in_order(forced, 0, REFUSED), (*case, forced)
            if not checked.status and not forced.status:
                assert json.loads(commands.run("open", directory).out) == KEYS, case
            shutil.rmtree(directory)
