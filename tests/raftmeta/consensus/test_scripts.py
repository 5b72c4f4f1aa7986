"""Scripts of tests/raftmeta/testdata: commands with the output they must have, on the simulated network.

A script is blocks of `> command` lines; what a command prints follows it. `RAFTMETA_REWRITE=1` writes down what is
printed now. Commands: cluster N, put K V [@N], range [@N], read @N, elect [N], campaign N, partition A,B | C, heal,
cut A B, crash N.. [clean], wipe N, restart N.., tick SECONDS, log N, append N TERM.., status, snapshot N KEEP (trims the log),
transfer N, add N [learner], promote N, remove N, applied, counters NAME.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from harness.simnet import CONFIG, Simulation

from raftmeta.consensus import Refusal, StartError
from raftmeta.consensus.codec import HEADERS, entry_kind, entry_members
from raftmeta.wal import HardState, LogEntry

SCRIPTS = sorted((Path(__file__).parents[1] / "testdata").glob("*.txt"))


class Script:
    """Runs commands on a simulated cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sim: Simulation

    def run(self, line: str) -> list[str]:
        name, *words = line.split()
        command: Callable[..., list[str] | None] = getattr(self, f"do_{name}")
        try:
            return command(*words) or ["ok"]
        except (AssertionError, LookupError, StartError) as error:
            return [f"error: {str(error).splitlines()[0].split(':')[0]}"]

    def do_cluster(self, members: str, tail: str = "100") -> None:
        self.sim = Simulation(self.root, int(members), 1, replace(CONFIG, tail_entries=int(tail)))

    def do_put(self, key: str, value: str, where: str = "") -> list[str]:
        if not where:
            self.sim.put(key, value)
            return ["ok"]
        number = int(where[1:])
        refusals = self.sim.propose(number, f"{key}={value}".encode())
        self.sim.run(1.0)
        applied = any(data == f"{key}={value}".encode() for _, data in self.sim.machines[number].store.commands)
        return [f"refused: {refusals[0].value}" if refusals else "ok" if applied else "not applied"]

    def do_range(self, where: str) -> list[str]:
        data = self.sim.machines[int(where[1:])].store.data
        return [" ".join(f"{key}={value}" for key, value in sorted(data.items())) or "empty"]

    def do_read(self, where: str) -> list[str]:
        answers = self.sim.read_index(int(where[1:]))
        before = self.sim.now
        self.sim.until(lambda: bool(answers), 5.0)
        assert self.sim.now - before <= CONFIG.election_max + CONFIG.heartbeat
        return [f"{a.value}" if isinstance(a, Refusal) else f"index {a}" for a in answers]

    def do_elect(self, number: str = "0") -> list[str]:
        return [f"leader {self.sim.elect(int(number) or None).me}"]

    def do_campaign(self, number: str) -> None:
        self.sim.core(int(number)).deadline = self.sim.now
        self.sim.touch(int(number))

    def do_partition(self, *words: str) -> None:
        self.sim.partition(*({int(n) for n in side.split(",")} for side in "".join(words).split("|")))

    def do_heal(self) -> None:
        self.sim.heal()

    def do_cut(self, sender: str, receiver: str) -> None:
        self.sim.cut.add((int(sender), int(receiver)))

    def do_crash(self, *numbers: str) -> None:
        for number in numbers:
            if number != "clean":
                self.sim.crash(int(number), power="clean" not in numbers)

    def do_wipe(self, number: str) -> None:
        self.sim.wipe(int(number))

    def do_restart(self, *numbers: str) -> None:
        for number in numbers:
            self.sim.restart(int(number))

    def do_tick(self, seconds: str) -> None:
        self.sim.run(float(seconds))

    def do_settle(self) -> None:
        self.sim.settle()

    def do_write(self, number: str, terms: str, hard: str) -> None:
        """Give a machine that is down a log with these terms, as `1,1,4`, and a current term."""
        machine = self.sim.machines[int(number)]
        machine.disk.entries = [
            LogEntry(i, int(term), HEADERS[0] + b"k%d=%s" % (i, term.encode()))
            for i, term in enumerate(terms.split(","), 1)
        ]
        machine.disk.hard = HardState(int(hard), 0)

    def do_log(self, number: str) -> list[str]:
        machine = self.sim.machines[int(number)]
        terms = " ".join(f"{entry.index}:{entry.term}{_kind(entry.data)}" for entry in machine.disk.entries)
        return [f"base {machine.disk.base[0]}:{machine.disk.base[1]} {terms}".rstrip()]

    def do_status(self) -> list[str]:
        lines = []
        for number, machine in self.sim.machines.items():
            if machine.core is None:
                lines.append(f"{number}: down")
                continue
            s = machine.core.status
            voters = ",".join(f"{m.id}{'L' if m.learner else ''}" for m in s.members.values())
            lines.append(
                f"{number}: {s.role.value} term {s.term} leader {s.leader_id} commit {s.commit_index} last"
                f" {s.last_index} members {voters}"
            )
        return lines

    def do_trim(self, number: str, keep: str) -> list[str]:
        core = self.sim.core(int(number))
        return [f"trimmed {core.trim(core.last_applied - int(keep))}, log starts after {core.base_index}"]

    def do_counter(self, name: str) -> list[str]:
        cores = [(n, m.core) for n, m in self.sim.machines.items() if m.core is not None]
        return [" ".join(f"{number}:{getattr(core.counters, name)}" for number, core in cores)]

    def _ask(self, begin: Callable[[Callable[[int | Refusal], None]], None]) -> list[str]:
        answers: list[int | Refusal] = []
        leader = self.sim.leader
        assert leader is not None, "no leader"
        leader.later(lambda: begin(answers.append))
        self.sim.until(lambda: bool(answers), 10.0)
        return [a.value if isinstance(a, Refusal) else f"done {a}" for a in answers]

    def do_transfer(self, number: str) -> list[str]:
        leader = self.sim.elect()
        return self._ask(lambda done: leader.begin_transfer(int(number), done))

    def do_machine(self, number: str) -> None:
        self.sim.add_machine(int(number))

    def do_add(self, number: str, learner: str = "") -> list[str]:
        leader = self.sim.elect()
        member = Simulation.member(int(number), bool(learner))
        return self._ask(lambda done: leader.add_member(member, done))

    def do_promote(self, number: str) -> list[str]:
        leader = self.sim.elect()
        return self._ask(lambda done: leader.promote_member(int(number), done))

    def do_remove(self, number: str) -> list[str]:
        leader = self.sim.elect()
        return self._ask(lambda done: leader.remove_member(int(number), done))


def _kind(data: bytes) -> str:
    if entry_kind(data) == 2:
        members = entry_members(data).values()
        return "{" + ",".join(f"{m.id}{'L' if m.learner else ''}" for m in members) + "}"
    return "" if entry_kind(data) == 0 else "-"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_prints_what_it_says(path: Path, tmp_path: Path) -> None:
    script, printed = Script(tmp_path), []
    for line in path.read_text().splitlines():
        if line.startswith("#") or not line:
            printed.append(line)
        elif line.startswith("> "):
            printed += [line, *script.run(line[2:])]
    text = "\n".join(printed) + "\n"
    if os.environ.get("RAFTMETA_REWRITE"):
        path.write_text(text)
    assert text == path.read_text()


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10
