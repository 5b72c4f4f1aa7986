"""A process that imports the program once and then runs it in forked children, one command each, many a second.

Reads lines of JSON from stdin, each a list of arguments, and answers each with a line: exit status, output, errors. A
child that takes too long, or writes a file beyond all bounds, is ended by the kernel, which shows as a negative status.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

SECONDS = 60
_MAX_FILE = 64 << 30  # the store's map is sparse


@dataclass(frozen=True)
class Ran:
    """What became of a command: its exit status, negative for a signal, and what it wrote."""

    status: int
    out: str
    err: str


REFUSED = 2
"""Exit status of a command that says what is wrong with what it was given."""


def said_in_order(ran: Ran, *allowed: int) -> bool:
    """Tell whether a command ended by itself, with a status it may have, and without showing its insides."""
    return ran.status in allowed and "Traceback" not in ran.err and (ran.status == 0 or bool(ran.err + ran.out))


class Commands:
    """Runs `python -m raftmeta ARGUMENTS`, or `open DIRECTORY`: starts the member there and prints its keys.

    A context manager.
    """

    def __enter__(self) -> Commands:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def run(self, *arguments: str | Path) -> Ran:
        """Run one command to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(one) for one in arguments]) + "\n")
        self._process.stdin.flush()
        return Ran(*json.loads(self._process.stdout.readline()))


def _command(arguments: list[str]) -> int:
    from raftmeta import cli, offline

    if arguments[0] == "open":
        try:
            print(json.dumps(asyncio.run(_contents(Path(arguments[1])))))
        except (*offline.USER_ERRORS, ValueError) as error:  # ValueError is what Node.start names
            print(f"refused: {type(error).__name__}: {error}", file=sys.stderr)
            return 2
        return 0
    sys.argv = ["raftmeta", *arguments]
    cli.main()
    raise AssertionError("main exits")


async def _contents(directory: Path) -> dict[str, str]:
    from raftmeta.config import NodeConfig
    from raftmeta.etcd import rpc_pb2 as pb
    from raftmeta.node import Node

    node = await Node.start(NodeConfig(data_dir=directory, name="m0"))
    try:
        await node.ready(20.0)
        found = await node.metastore(0).range(pb.RangeRequest(key=b"\0", range_end=b"\0"))
        return {item.key.decode(): item.value.decode() for item in found.kvs}
    finally:
        await node.stop()


def _child(arguments: list[str], out: Any, err: Any) -> None:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE, _MAX_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    status = 70
    try:
        status = _command(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Serve until stdin ends."""
    import raftmeta.cli
    import raftmeta.node

    assert raftmeta.cli
    assert raftmeta.node
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if not child:
                _child(json.loads(line), out, err)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            answers.write(json.dumps([status, out.read(), err.read()[-5000:]]) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
