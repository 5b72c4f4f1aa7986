"""Mounts in a cluster: every node sees a new one, reads through it and writes through it, and kills lose nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import s3
from harness.contents import noise
from harness.fleet import Fleet
from quartet import CallError

pytestmark = pytest.mark.slow


def test_nodes_of_a_cluster_share_a_mounted_bucket_and_lose_nothing_when_they_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    flags = ["--objects-mounts", f"s3://,{s3.endpoint()},{tmp_path.as_uri()}"]
    with Fleet(tmp_path, 3, *flags) as fleet:
        one, two, three = (fleet.client(node.endpoint) for node in fleet.nodes)
        with one, two, three:
            url = f"s3://{s3.new_bucket()}"
            one.mounts.mount("/m", "bucket", url, endpoint=s3.endpoint(), create=True)
            with pytest.raises(CallError) as caught:
                one.mounts.mount("/d", "disk", (tmp_path / "disk").as_uri(), create=True)
            assert caught.value.reason == "OBJECTS_NOT_SHARED"
            two.files.write("/m/two", noise(100_000, 2))
            assert three.files.read("/m/two") == noise(100_000, 2)
            data = {f"/m/{i}": noise(20_000 + i, i) for i in range(12)}
            for i, (path, content) in enumerate(data.items()):
                (one, two, three)[i % 3].files.write(path, content)
            deadline = time.monotonic() + 40
            while [node.reachable for node in one.mounts.list()[0].nodes] != [True] * 3:
                assert time.monotonic() < deadline, one.mounts.list()
                time.sleep(0.05)
        for node in fleet.nodes:
            node.kill()
        for node in fleet.nodes:
            node.ended()
        for node in fleet.nodes:
            node.launch()
        for node in fleet.nodes:
            node.wait()
        with fleet.client() as client:
            for path, content in data.items():
                assert client.files.read(path) == content
            shown = fleet.quartet("mounts", "-o", "json")
            assert [row["url"] for row in shown.json] == [url]
            told = fleet.quartet("unmount", "bucket")
            assert told.code == 1
            assert "MOUNT_IN_USE" in told.err
            client.files.delete("/m/two", recursive=True)
            client.files.trash.empty()
    s3.stop()
