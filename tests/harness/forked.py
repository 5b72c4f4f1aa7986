"""Commands of `quartet` and `raftmeta` in forked children of a process that has imported both once.

Starting the interpreter and importing a node takes a second of a processor, and a run of all tests starts hundreds. What a child
does, how it ends and what is left of it is what a process of its own would do: it replaces its environment, directory and output, runs
the program's `main` and ends as the interpreter does. Tests that are about starting take `harness.quartet.command` and
`subprocess` instead, as does `quartet cluster up` of itself.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

_LONGEST = 1 << 17
_PARENT_DEATH_SIGNAL = 1  # prctl(2)
PROGRAMS = ("quartet_server", "raftmeta")
"""Modules whose `cli.main` is their program."""


class Child:
    """A command under way, with as much of `subprocess.Popen` as tests use.

    Attributes:
        pid: Its process id.
        stdout: What it writes, if that was asked for.
        returncode: Its exit status, negative for a signal; None as long as it is not known.
    """

    def __init__(self, parent: Parent, pid: int, stdout: IO[str] | None) -> None:
        """Use `start`."""
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._parent = parent
        self._process = os.pidfd_open(pid)  # the number is its own until its parent was told of its end
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; returns the exit status. Raises subprocess.TimeoutExpired."""
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(f"quartet, process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        with self._lock:
            if self.returncode is None:
                signal.pidfd_send_signal(self._process, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        with self._lock:
            waits = self.returncode is None and timeout != 0
            process = os.dup(self._process) if waits else -1
        if waits:
            try:
                _await(process, timeout)
            finally:
                os.close(process)
        with self._lock:
            if self.returncode is None and _await(self._process, 0):
                self.returncode = self._parent.reap(self.pid)
                os.close(self._process)
        return self.returncode

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for its end."""
        if self.stdout is not None:
            self.stdout.close()
        self.wait()


class Parent:
    """The process that has imported the program; it ends with this one, and its children with it."""

    def __init__(self) -> None:
        """Start it."""
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self._line.close()
        self._process.wait(30)

    def start(
        self, module: str, arguments: Sequence[str], env: Mapping[str, str], cwd: str, files: Sequence[int]
    ) -> int:
        """Start a program whose stdout and stderr are two open files; returns its process id."""
        return self._ask({"module": module, "arguments": arguments, "env": env, "cwd": cwd}, files)

    def reap(self, pid: int) -> int:
        """Return the exit status of a child that has ended."""
        return self._ask({"ended": pid}, [])

    def _ask(self, request: Mapping[str, object], files: Sequence[int]) -> int:
        with self._lock:
            socket.send_fds(self._line, [json.dumps(request).encode()], files)
            answer = self._line.recv(_LONGEST)
        assert answer, "the process that starts commands has ended"
        return int(answer)


_parent: list[Parent] = []
_starting = threading.Lock()


def start(
    command: Sequence[str], *, env: Mapping[str, str], out: int | None, err: int, cwd: str | Path | None = None
) -> Child | subprocess.Popen[str]:
    """Start a command in exactly this environment, writing to open files; with `out` None `stdout` is a pipe.

    `python -m MODULE` is forked, where it is one of `PROGRAMS` and neither coverage is measured nor something loaded before it.
    """
    if list(command[:2]) != [sys.executable, "-m"] or command[2] not in PROGRAMS or _differs(env):
        return subprocess.Popen(
            command, env=env, cwd=cwd, stdout=subprocess.PIPE if out is None else out, stderr=err, text=True
        )
    with _starting:
        if not _parent:
            _parent.append(Parent())
    [parent] = _parent
    reading, writing = (-1, out) if out is not None else os.pipe()
    try:
        pid = parent.start(command[2], command[3:], env, str(cwd or Path.cwd()), [writing, err])
    finally:
        if out is None:
            os.close(writing)
    return Child(parent, pid, os.fdopen(reading) if out is None else None)


def _differs(env: Mapping[str, str]) -> bool:
    """Tell whether an environment says something that must be known when the interpreter starts."""
    return any(
        name.startswith(("COVERAGE_PROCESS", "LD_")) or (name.startswith("PYTHON") and value != os.environ.get(name))
        for name, value in env.items()
        if name != "PYTHONUNBUFFERED"  # who needs a line at once flushes it
    )


def _await(process: int, timeout: float | None) -> bool:
    """Wait until a process has ended; tell whether it has."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else 1000 * timeout))


def _serve(line: socket.socket) -> dict[str, Any] | None:
    """Start children until nobody asks any more; return in each child what it is to do, None in the parent."""
    while True:
        data, files, _, _ = socket.recv_fds(line, _LONGEST, 2)
        if not data:
            return None
        request = json.loads(data)
        if "ended" in request:
            line.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1]))
            continue
        parent = os.getpid()
        child = os.fork()
        if not child:
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            for place, file in enumerate(files, 1):
                os.dup2(file, place)
        for file in files:
            os.close(file)
        if not child:
            line.close()
            return dict(request)
        line.send(b"%d" % child)


def _main() -> None:
    import quartet_server.cli
    import quartet_server.node

    import raftmeta.cli
    import raftmeta.serve

    assert quartet_server.node
    assert raftmeta.serve
    gc.collect()
    gc.freeze()
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is None:
        return
    os.environ.clear()
    os.environ.update(wanted["env"])
    os.chdir(wanted["cwd"])
    module = {"quartet_server": quartet_server, "raftmeta": raftmeta}[wanted["module"]]
    sys.argv = [str(Path(str(module.__file__)).with_name("__main__.py")), *wanted["arguments"]]
    module.cli.main()


if __name__ == "__main__":
    _main()
