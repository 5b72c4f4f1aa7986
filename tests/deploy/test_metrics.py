"""What Prometheus sees of a real node: its own binary scrapes one with the deployed configuration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.peers import binary
from harness.ports import free_ports
from harness.sources import ROOT
from prometheus_client.parser import text_string_to_metric_families

QUARTET = str(Path(sys.executable).with_name("quartet"))
WAIT_SECONDS = 60


@contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, end it in the end; what it says goes to `log`."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as started:
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()


def get(url: str) -> str | None:
    """Return what is served at `url`, or None while nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            text: str = response.read().decode()
            return text
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def until(url: str, ready: str, log: Path, server: subprocess.Popen[bytes]) -> str:
    """Ask `url` until the answer contains `ready`."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and server.poll() is None:
        answer = get(url)
        if answer is not None and ready in answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{url} never said {ready}: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node that is ready; HOST:PORT of its HTTP port."""
    directory = tmp_path_factory.mktemp("node")
    grpc, http, raft = (f"127.0.0.1:{port}" for port in free_ports(3))
    ports = ("--listen", grpc, "--listen-http", http, "--listen-raft", raft)
    command = (QUARTET, "serve", "--name", "n1", "--data-dir", str(directory / "data"), *ports)
    with process(directory / "log", *command) as server:
        until(f"http://{http}/readyz", "ready", directory / "log", server)
        yield http


@pytest.fixture(scope="module")
def metrics(node: str) -> str:
    """What the node shows under /metrics."""
    text = get(f"http://{node}/metrics")
    assert text
    return text


def test_every_metric_of_a_node_has_a_type_and_a_help_text(metrics: str) -> None:
    families = list(text_string_to_metric_families(metrics))
    assert len(families) > 5
    assert [family.name for family in families if family.type == "unknown" or not family.documentation] == []


def test_a_node_shows_raft_under_its_own_names_and_grpc_under_the_ecosystems(metrics: str) -> None:
    names = {family.name for family in text_string_to_metric_families(metrics)}
    assert any(name.startswith("quartet_") for name in names), sorted(names)
    assert {"grpc_server_handled", "grpc_server_handling_seconds"} <= names


def test_no_label_carries_a_path_an_id_or_a_user(metrics: str) -> None:
    labels = {label for family in text_string_to_metric_families(metrics) for s in family.samples for label in s.labels}
    assert not labels & {"path", "key", "id", "user", "zone", "request_id", "peer", "token"}


@pytest.mark.peer
def test_promtool_finds_nothing_wrong_with_the_metrics_but_names_that_others_chose(metrics: str) -> None:
    checked = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
    )
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if re.match(r"quartet_", line)]
    assert said == []
    assert "error while parsing" not in checked.stderr


@pytest.mark.peer
def test_a_real_prometheus_scrapes_the_node_with_the_deployed_configuration(node: str, tmp_path: Path) -> None:
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    configuration["global"].update(scrape_interval="1s", scrape_timeout="1s")
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [node]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = (
        binary("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
    )
    with process(tmp_path / "log", *command) as server:
        targets = until(f"http://{address}/api/v1/targets", '"health":"up"', tmp_path / "log", server)
        assert [target["lastError"] for target in json.loads(targets)["data"]["activeTargets"]] == [""]
        query = f"http://{address}/api/v1/query?query=up"
        answer: dict[str, Any] = json.loads(until(query, '"result":[{', tmp_path / "log", server))
        assert [sample["value"][1] for sample in answer["data"]["result"]] == ["1"]
        names = json.loads(get(f"http://{address}/api/v1/label/__name__/values") or "{}")["data"]
        assert any(name.startswith("quartet_") for name in names)
