"""A node is killed while it restores and while it photographs: afterwards the old tree or the new one is there, whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness.fleet import ServedNode
from quartet import CallError, Client

pytestmark = pytest.mark.slow

FILES = {f"/{number % 4}/{number}": b"%06d" % number * 10 for number in range(800)}
PATIENCE = 60.0


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedNode]:
    """A node with a tree in /d."""
    served = ServedNode(tmp_path_factory.mktemp("crash"), "n1")
    served.start()
    try:
        with Client(served.endpoint) as client:
            for number in range(4):
                client.files.mkdir(f"/d/{number}", parents=True)
            client.files.write_many({f"/d{path}": data for path, data in FILES.items()})
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()
            served.ended()


@contextmanager
def killed(node: ServedNode, work: Callable[[Client], object], entries: int) -> Iterator[None]:
    """Kill the node after it has written so many entries of its log since the work began, and start it again."""
    before = int(node.facts()["applied_index"])

    def run() -> None:
        try:
            with Client(node.endpoint, timeout=1.0, connect_timeout=0.1) as client:
                work(client)
        except CallError:
            return

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while thread.is_alive() and int(node.facts().get("applied_index", before)) < before + entries:
        assert time.monotonic() < deadline
    node.kill()
    node.ended()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    node.start()
    yield


def contents(client: Client, path: str) -> dict[str, bytes]:
    """Every file below a path."""
    paths = [entry.path for entry in client.files.walk(path) if entry.path.count("/") == path.count("/") + 2]
    read = client.files.read_many(paths)
    return {one.removeprefix(path): result.data for one, result in zip(paths, read, strict=True)}


def sound(client: Client) -> bool:
    """Whether a check of the whole tree, its bytes included, finds nothing."""
    answers = list(client.maintenance.check(read=True))
    assert [answer.finding for answer in answers if answer.HasField("finding")] == []
    return answers[-1].HasField("summary")


@pytest.mark.parametrize("entries", [1, 9, 17])
def test_a_node_killed_while_it_restores_has_the_old_tree_or_the_new_one(node: ServedNode, entries: int) -> None:
    with Client(node.endpoint) as client:
        made = client.snapshots.create("/d")
        client.files.write(f"/d/0/new-{entries}", b"new")
        changed = contents(client, "/d")
        ino = client.files.stat("/d").ino
    request = f"restore-{entries}"
    with (
        killed(node, lambda client: client.snapshots.restore(made.id, request_id=request), entries),
        Client(node.endpoint, timeout=PATIENCE) as client,
    ):
        swapped = client.files.stat("/d").ino != ino
        assert contents(client, "/d") == (FILES if swapped else changed)
        done = client.snapshots.restore(made.id, request_id=request)
        assert client.files.stat("/d").ino == done.entry.ino
        assert contents(client, "/d") == FILES
        assert list(client.snapshots.diff(made.id)) == []
        assert sound(client)


@pytest.mark.parametrize("entries", [1, 2])
def test_a_node_killed_while_it_photographs_has_the_snapshot_whole_or_not_at_all(
    node: ServedNode, entries: int
) -> None:
    request = f"create-{entries}"
    with Client(node.endpoint) as client:
        client.files.write(f"/d/1/more-{entries}", b"more" * 2000)
        now, before = contents(client, "/d"), len(list(client.snapshots.list()))
    with (
        killed(node, lambda client: client.snapshots.create("/d", request_id=request), entries),
        Client(node.endpoint, timeout=PATIENCE) as client,
    ):
        done = client.snapshots.create("/d", request_id=request)
        assert len(list(client.snapshots.list())) == before + 1
        client.snapshots.branch(done.id, f"/again-{entries}")
        assert contents(client, f"/again-{entries}") == now
        client.files.delete(f"/d/1/more-{entries}")
        assert sound(client)
