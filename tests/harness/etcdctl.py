"""etcdctl against any endpoints, and its output without what differs between any two clusters."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from harness.peers import binary

_REPLACED = [
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r"\b[0-9a-f]{11,16}\b"), "ID"),
    (re.compile(r"\b\d{15,20}\b"), "ID"),
    (re.compile(r"\b(Member|cluster) +ID\b"), r"\1 ID"),  # an id of fewer digits is padded
    (re.compile(r"took = [\d.]+[a-zµ]+"), "took = TIME"),
    (re.compile(r"remaining\(\d+s\)"), "remaining(TIME)"),
    (re.compile(r'"raft_term":\d+'), '"raft_term":N'),
    (re.compile(r'"RaftTerm" : \d+'), '"RaftTerm" : N'),
    (re.compile(r"/[^ ]*/(backup[^ ]*)"), r"\1"),
    (
        re.compile(r"\d+(\.\d+)? [kM]?B, (true|false), (true|false), \d+, \d+, \d+"),
        r"SIZE, \2, \3, TERM, INDEX, APPLIED",
    ),
]


@dataclass(frozen=True, slots=True)
class Said:
    """What one run of etcdctl came to: exit status, sorted output lines and error lines, normalised."""

    status: int
    lines: tuple[str, ...]
    errors: tuple[str, ...]


def normalise(text: str) -> str:
    """Replace ids, addresses, times, sizes and Raft's numbers."""
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return text


class Etcdctl:
    """etcdctl bound to a cluster."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        """Use HOST:PORT endpoints."""
        self.endpoints = list(endpoints)
        self._binary = binary("etcdctl")

    def start(self, *arguments: str, endpoints: Sequence[str] | None = None) -> subprocess.Popen[str]:
        """Start a command that goes on; its output is a pipe."""
        return subprocess.Popen(
            self._command(arguments, endpoints), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def output(self, *arguments: str, stdin: str = "", endpoints: Sequence[str] | None = None) -> str:
        """Run a command that must succeed; return what it printed."""
        done = self._run(arguments, stdin, endpoints)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def says(self, *arguments: str, stdin: str = "", endpoints: Sequence[str] | None = None) -> Said:
        """Run a command; return its normalised outcome."""
        done = self._run(arguments, stdin, endpoints)
        lines = tuple(sorted(normalise(done.stdout).splitlines()))
        # endpoint commands report on stderr what is not logging
        errors = [line for line in normalise(done.stderr).splitlines() if not line.startswith("{")]
        return Said(done.returncode, lines, tuple(sorted(errors)))

    def _command(self, arguments: Sequence[str], endpoints: Sequence[str] | None) -> list[str]:
        return [self._binary, f"--endpoints={','.join(endpoints or self.endpoints)}", *arguments]

    def _run(
        self, arguments: Sequence[str], stdin: str, endpoints: Sequence[str] | None
    ) -> subprocess.CompletedProcess[str]:
        command = self._command(arguments, endpoints)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
