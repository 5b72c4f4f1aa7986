"""Group commit, seen from the inside: what is put together, what a failure takes along, how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest
from quartet_server.errors import NodeStopping
from quartet_server.records.contract import Work
from quartet_server.records.writer import GROUP_WORKS, Pending, Writer


class Log:
    """Transactions that only write down what is asked of them; `broken` says which step fails next."""

    def __init__(self) -> None:
        """Begin empty."""
        self.steps: list[str] = []
        self.broken = ""
        self.apart = False
        self.hold = threading.Event()
        self.hold.set()

    def _step(self, name: str, detail: str = "") -> None:
        self.steps.append(f"{name} {detail}".rstrip())
        if self.broken == name:
            self.broken = ""
            raise OSError(name)

    def begin(self, first: Pending) -> None:
        assert self.hold.wait(20)
        self._step("begin", first.zone)

    def joins(self, pending: Pending) -> bool:
        return not self.apart

    def run(self, pending: Pending) -> None:
        self._step("run", pending.zone)
        pending.result = pending.zone

    def commit(self) -> None:
        self._step("commit")

    def rollback(self) -> None:
        self.steps.append("rollback")

    def close(self) -> None:
        self.steps.append("close")


def nothing(*_: object) -> None:
    """Do nothing."""


async def started(log: Log, committed: Callable[..., None] = nothing, limit: int = 10_000) -> Writer:
    return Writer("test", log, committed, limit=limit)


async def queued(writer: Writer, log: Log, *zones: str) -> list[asyncio.Task[object]]:
    """Hold the writer at its first write until the others wait."""
    log.hold.clear()
    work: Work[None] = nothing
    tasks = [asyncio.create_task(writer.write(zone, work)) for zone in zones]
    while writer.waiting < len(zones):
        await asyncio.sleep(0)
    log.hold.set()
    return tasks


async def test_writes_that_wait_are_one_transaction() -> None:
    log = Log()
    told: list[Sequence[str]] = []
    writer = await started(log, told.append)
    tasks = await queued(writer, log, "a", "b", "a")
    assert await asyncio.gather(*tasks) == ["a", "b", "a"]
    await writer.close()
    assert log.steps == ["begin a", "run a", "run b", "run a", "commit", "close"]
    assert told == [("a", "b")]
    assert (writer.counts.groups, writer.counts.works, writer.counts.sizes[2]) == (1, 3, 1)


async def test_a_write_that_may_not_join_begins_the_next_transaction() -> None:
    log = Log()
    log.apart = True
    writer = await started(log)
    await asyncio.gather(*await queued(writer, log, "a", "b"))
    await writer.close()
    assert log.steps == ["begin a", "run a", "commit", "begin b", "run b", "commit", "close"]


async def test_a_transaction_has_an_end() -> None:
    log = Log()
    writer = await started(log)
    await asyncio.gather(*await queued(writer, log, *["a"] * (GROUP_WORKS + 1)))
    await writer.close()
    assert log.steps.count("commit") == 2


@pytest.mark.parametrize("step", ["begin", "run", "commit"])
async def test_what_breaks_a_transaction_is_told_to_all_in_it_and_the_next_begins_anew(step: str) -> None:
    log = Log()
    told: list[Sequence[str]] = []
    writer = await started(log, told.append)
    log.broken = step
    results = await asyncio.gather(*await queued(writer, log, "a", "b"), return_exceptions=True)
    failed = [one for one in results if isinstance(one, OSError)]
    assert len(failed) == (2 if step == "commit" else 1)
    assert "rollback" in log.steps
    assert await writer.write("c", nothing) == "c"
    assert told[-1][-1] == "c"
    assert writer.counts.failed == 1
    await writer.close()


async def test_what_waits_at_the_end_is_still_done_and_what_comes_later_is_refused() -> None:
    log = Log()
    writer = await started(log)
    tasks = await queued(writer, log, "a", "b", "c")
    await writer.close()
    assert await asyncio.gather(*tasks) == ["a", "b", "c"]
    with pytest.raises(NodeStopping):
        await writer.write("d", nothing)
    assert log.steps[-1] == "close"
