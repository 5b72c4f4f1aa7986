"""Import a real tree into three nodes, kill the leader on the way, and compare every entry on every node with the disk."""

from __future__ import annotations

import argparse
import shutil
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from quartet import Client, CreateEntry

from quartet_server.demo import tree
from quartet_server.demo.cluster import DemoCluster, DemoError

BATCH = 200
REMOTE = "/library"
SHOWN = (
    ("quartet_raft_term", "Raft term"),
    ("quartet_raft_applied_index", "log entries applied"),
    ("quartet_raft_proposals_total", "proposals"),
    ("quartet_raft_fsyncs_total", "syncs of the log"),
    ("grpc_server_handled_total", "calls answered"),
)


@dataclass
class Story:
    """What happened.

    Attributes:
        leader: Index of the node that was killed; -1 while none was.
        killed: When, on the monotonic clock.
        recovered: When the first batch sent after that was acknowledged.
        created: Entries acknowledged.
    """

    leader: int = -1
    killed: float = 0.0
    recovered: float = 0.0
    created: int = 0
    wrong: list[str] = field(default_factory=list)


def say(text: str = "") -> None:
    """Tell the audience."""
    print(text, flush=True)


def bring_in(cluster: DemoCluster, entries: list[CreateEntry], story: Story) -> None:
    """Create all entries; kill the leader while a batch in the middle is on its way. Raises DemoError for a refused entry."""
    batches = [entries[i : i + BATCH] for i in range(0, len(entries), BATCH)]
    leader = cluster.leader()
    others = [endpoint for endpoint in cluster.endpoints if endpoint != cluster.endpoints[leader]]

    def strike() -> None:
        pid = cluster.kill(leader)
        story.leader, story.killed = leader, time.monotonic()
        say(f"  kill -9 {pid}: n{leader + 1}, the leader, after {story.created:,} entries, a batch on its way")

    with Client([cluster.endpoints[leader], *others], tls=cluster.tls, timeout=30.0) as client:
        client.files.mkdir(REMOTE)
        for number, batch in enumerate(batches):
            assassin = threading.Timer(0.005, strike) if number == len(batches) // 2 else None
            if assassin:
                assassin.start()
            results = client.files.create_many(batch, timeout=30.0)
            if refused := next((result.failure for result in results if result.HasField("failure")), None):
                raise DemoError(f"an entry was refused: {refused}")
            story.created += len(results)
            if assassin:
                assassin.join()
            elif story.killed and not story.recovered:  # the first batch that was sent after the kill
                story.recovered = time.monotonic()


def show(cluster: DemoCluster, wanted: dict[str, tree.Facts], story: Story) -> None:
    """Read every entry back from each node by itself and compare; then a few figures."""
    expected = tree.digest(wanted)
    say(f"  disk      {expected}")
    for node, endpoint in enumerate(cluster.endpoints):
        with Client(endpoint, tls=cluster.tls, timeout=30.0) as client:
            found = tree.on_node(client, REMOTE)
        wrong = list(tree.differences(wanted, found))
        story.wrong += [f"n{node + 1}: {line}" for line in wrong]
        mark = "same" if tree.digest(found) == expected and not wrong else f"{len(wrong)} DIFFERENCES"
        say(f"  n{node + 1}        {tree.digest(found)}  {len(found):,} entries, {mark}")
    say()
    leader = cluster.leader()
    figures = cluster.metrics(leader)
    say(f"From /metrics of n{leader + 1}, which leads now:")
    for name, words in SHOWN:
        if name in figures:
            say(f"  {words:<24}{figures[name]:>10,.0f}   {name}")


def play(options: argparse.Namespace, directory: Path) -> Story:
    """Do all of it; returns what happened. Raises DemoError, or quartet.QuartetError when the cluster did not recover."""
    story = Story()
    wanted = tree.on_disk(options.tree, REMOTE)
    entries = [tree.request(path, facts) for path, facts in wanted.items()]
    say(f"{options.tree}: {len(entries):,} entries, contents hashed")
    with DemoCluster(directory, options.nodes) as cluster:
        say(f"{options.nodes} nodes are up, mutual TLS on every port: {', '.join(cluster.endpoints)}")
        began = time.monotonic()
        bring_in(cluster, entries, story)
        seconds = time.monotonic() - began
        say(f"  the next write was acknowledged {story.recovered - story.killed:.2f} s after the kill")
        say(f"  {story.created:,} entries imported in {seconds:.1f} s, {story.created / seconds:,.0f} a second")
        cluster.revive(story.leader)
        say(f"  n{story.leader + 1} is back and has caught up")
        say()
        say("Every entry read back from each node by itself, and compared with the disk:")
        show(cluster, wanted, story)
    return story


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, and say how it went; returns 1 when anything differed or nobody was killed."""
    parser = argparse.ArgumentParser(prog="python -m quartet_server.demo", description=__doc__)
    parser.add_argument(
        "--tree", type=Path, default=Path(sysconfig.get_paths()["stdlib"]), help="default: Python's own library"
    )
    parser.add_argument("--nodes", type=int, choices=(3, 5, 7), default=3)
    parser.add_argument("--data-dir", type=Path, help="keep the cluster's data here; default: a temporary directory")
    options = parser.parse_args(arguments)
    directory = options.data_dir or Path(tempfile.mkdtemp(prefix="quartet-demo-"))
    began = time.monotonic()
    try:
        story = play(options, directory)
    except DemoError as error:
        say(f"FAILED: {error}")
        return 1
    finally:
        if options.data_dir is None:
            shutil.rmtree(directory, ignore_errors=True)
    say()
    for line in story.wrong[:20]:
        say(f"DIFFERENT: {line}")
    if story.wrong or not story.killed or not story.recovered:
        say("FAILED: " + ("nobody was killed in time" if not story.killed else f"{len(story.wrong)} differences"))
        return 1
    say(
        f"The leader never got to say goodbye; {story.created:,} entries did not notice.  ({time.monotonic() - began:.0f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
