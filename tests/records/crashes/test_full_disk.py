"""A disk that is really full, below the databases of a real node: it says so, reads on, keeps what it promised, and goes on."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pysqlite3
import pytest
from harness.fleet import Fleet
from harness.volumes import fill, small_volume
from quartet.events.v1 import appending_pb2, event_pb2, reading_pb2
from quartet.events.v1.events_pb2_grpc import EventServiceStub

pytestmark = pytest.mark.slow


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB where the node has its databases."""
    (tmp_path / "n1").mkdir(mode=0o700)
    with small_volume(tmp_path / "n1" / "records", 24) as path:
        yield path


class Writer:
    """Appends events of 4 KiB, and remembers those that were acknowledged."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Call over `channel`."""
        self.stub = EventServiceStub(channel)
        self.acknowledged: list[str] = []
        self._numbers = itertools.count()

    def append(self) -> None:
        """Append one. Raises grpc.RpcError."""
        number = next(self._numbers)
        made = event_pb2.Event(
            source="full", source_id=str(number), type="message", content=f"{number} " + "x" * 4096, from_channel="full"
        )
        made.timestamp.GetCurrentTime()
        self.acknowledged.append(self.stub.Append(appending_pb2.AppendRequest(event=made), timeout=20).id)

    def refused(self) -> grpc.RpcError:
        """Append until it is refused, and return how."""
        for _ in range(20_000):
            try:
                self.append()
            except grpc.RpcError as error:
                return error
        raise AssertionError("the disk does not fill up")

    def missing(self) -> set[str]:
        """Ids that were acknowledged and are not there."""
        found: set[str] = set()
        for start in range(0, len(self.acknowledged), 500):
            ids = self.acknowledged[start : start + 500]
            answer = self.stub.BatchGetEvents(reading_pb2.BatchGetEventsRequest(ids=ids), timeout=20)
            found |= {event.id for event in answer.events}
        return set(self.acknowledged) - found


def test_a_full_disk_is_said_damages_nothing_and_is_got_over(tmp_path: Path, volume: Path) -> None:
    with Fleet(tmp_path, 1) as fleet, grpc.insecure_channel(fleet.nodes[0].endpoint) as channel:
        writer = Writer(channel)
        for _ in range(50):
            writer.append()
        filler = fill(volume)
        for _ in range(2):  # and again when it is known
            error = writer.refused()
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
            assert "room" in str(error.details())
        assert writer.missing() == set()
        fleet.client().files.mkdir("/elsewhere")  # the disk of the Metastore has room
        filler.unlink()
        deadline = time.monotonic() + 30
        before = len(writer.acknowledged)
        while len(writer.acknowledged) < before + 50:
            assert time.monotonic() < deadline
            writer.append()
        assert writer.missing() == set()
        fleet.nodes[0].terminate()
        with pysqlite3.connect(volume / "events.db") as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        database.close()
