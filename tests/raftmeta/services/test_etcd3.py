"""etcd3, the old synchronous client, in a process of its own: its stubs need protobuf's pure-Python implementation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.raftmeta import RaftmetaCluster

PROGRAM = """
import sys
import etcd3

client = etcd3.client(host=sys.argv[1], port=int(sys.argv[2]), timeout=20)
client.put("a", "1")
assert client.get("a")[0] == b"1"
assert client.put("a", "2", prev_kv=True).prev_kv.value == b"1"
client.put("ab", "9")
assert [meta.key for _, meta in client.get_prefix("a")] == [b"a", b"ab"]
assert [value for value, _ in client.get_all(sort_order="descend", sort_target="key")] == [b"9", b"2"]
assert [value for value, _ in client.get_range("a", "aa")] == [b"2"]
assert client.replace("a", "2", "3") and not client.replace("a", "2", "4")
assert client.put_if_not_exists("c", "1") and not client.put_if_not_exists("c", "2")
ok, answers = client.transaction(
    compare=[client.transactions.value("a") == "3", client.transactions.version("a") > 0],
    success=[client.transactions.put("t", "x"), client.transactions.get("a")],
    failure=[client.transactions.delete("a")],
)
assert ok and answers[1][0][0] == b"3"
lease = client.lease(60)
client.put("leased", "1", lease=lease)
assert lease.granted_ttl == 60 and lease.remaining_ttl > 50 and list(lease.keys) == [b"leased"]
assert list(lease.refresh())[0].TTL == 60
events, cancel = client.watch("w")
client.put("w", "seen")
assert next(events).value == b"seen"
client.delete("w")
assert isinstance(next(events), etcd3.events.DeleteEvent)
cancel()
with client.lock("mutex", ttl=10) as lock:
    assert lock.is_acquired()
lease.revoke()
assert client.get("leased")[0] is None
assert client.delete("a") and not client.delete("a")
assert client.delete_prefix("c").deleted == 1
assert client.status().version.startswith("3.")
assert [member.name for member in client.members] == ["m0"]
assert list(client.list_alarms()) == []
assert client.hash() is not None
client.compact(2)
try:
    next(client.watch("ab", start_revision=1)[0])
    raise AssertionError("history that is gone was watched")
except etcd3.exceptions.RevisionCompactedError as error:
    assert error.compacted_revision == 2
client.defragment()
with open(sys.argv[3], "wb") as file:
    client.snapshot(file)
client.close()
print("all answered")
"""


def test_etcd3s_calls_are_answered(tmp_path: Path) -> None:
    with RaftmetaCluster(tmp_path, 1) as cluster:
        host, _, port = cluster.endpoints[0].partition(":")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, host, port, str(tmp_path / "saved")],
            env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "all answered\n"), done.stderr
    assert (tmp_path / "saved").stat().st_size % 512 == 32
