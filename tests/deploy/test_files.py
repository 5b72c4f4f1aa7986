"""What is deployed fits what is built: flags, ports, users, volumes and configuration keys."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.peers import binary
from harness.sources import ROOT
from quartet_server.config import Config

DEPLOY = ROOT / "deploy"
QUARTET = str(Path(sys.executable).with_name("quartet"))
NODES = ("n1", "n2", "n3")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return document


def quartet_check(*flags: str) -> dict[str, Any]:
    """Let the command itself read the flags; returns what a node would run with."""
    result = subprocess.run([QUARTET, "check", *flags, "-o", "json"], capture_output=True, text=True, check=False)
    assert result.stdout, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.returncode == 0, document["problems"]
    return document


def flags_of(compose: dict[str, Any], node: str) -> list[str]:
    command = shlex.split(compose["services"][node]["command"])
    assert command[0] == "serve"
    return command[1:]


@pytest.mark.parametrize("node", NODES)
def test_each_node_of_the_compose_file_is_started_with_flags_that_serve_understands(
    compose: dict[str, Any], node: str
) -> None:
    flags = flags_of(compose, node)
    known = subprocess.run([QUARTET, "serve", "--help"], capture_output=True, text=True, check=True).stdout
    used = [word for word in flags if word.startswith("--")]
    assert [flag for flag in used if not re.search(rf"{flag}\b(?!-)", known)] == []
    effective = {row["key"]: row["value"] for row in quartet_check(*flags)["config"]}
    assert effective["serve.name"] == node
    assert effective["serve.advertise_raft"] == f"{node}:7402"
    assert f"{node}={node}:7402" in effective["raft.initial_cluster"].split(",")


def test_the_nodes_of_the_compose_file_agree_on_who_founds_the_cluster(compose: dict[str, Any]) -> None:
    clusters = {flags[flags.index("--raft-initial-cluster") + 1] for flags in (flags_of(compose, n) for n in NODES)}
    assert len(clusters) == 1
    assert [member.split("=")[0] for member in clusters.pop().split(",")] == list(NODES)


def test_every_node_keeps_its_data_in_a_volume_of_its_own(compose: dict[str, Any]) -> None:
    mounts = [compose["services"][node]["volumes"] for node in NODES]
    assert mounts == [[f"{node}:/var/lib/quartet"] for node in NODES]
    assert set(NODES) <= compose["volumes"].keys()


def test_nothing_of_the_compose_file_is_published_beyond_loopback_or_twice(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert max(Counter(port.split(":")[1] for port in published).values()) == 1


def test_files_that_the_compose_file_mounts_or_builds_from_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file(), source
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's (instruction, argument)s, continued lines joined and comments dropped."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, " ".join(rest.split()))
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def last_stage() -> dict[str, str]:
    steps = instructions()
    start = max(i for i, (word, _) in enumerate(steps) if word == "FROM")
    return dict(steps[start:])


def test_the_image_is_built_in_stages_from_a_python_that_we_support() -> None:
    bases = [argument.split()[0] for word, argument in instructions() if word == "FROM"]
    assert len(bases) == 2
    minimum = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    for base in bases:
        version = re.fullmatch(r"python:(\d+\.\d+)-slim", base)
        assert version, base
        assert [int(n) for n in version[1].split(".")] >= [int(n) for n in minimum.split(".")]


def test_the_image_runs_as_nobody_special_and_tells_its_health() -> None:
    stage = last_stage()
    assert stage["USER"] not in ("root", "0")
    assert "/readyz" in stage["HEALTHCHECK"]
    assert stage["EXPOSE"].split() == ["7400", "7401", "7402"]
    assert stage["VOLUME"] == "/var/lib/quartet"


def test_the_ports_of_the_image_are_the_defaults_of_a_node() -> None:
    serve = Config().serve
    ports = [address.rsplit(":", 1)[1] for address in (serve.listen, serve.listen_http, serve.listen_raft)]
    assert last_stage()["EXPOSE"].split() == ports


def test_the_image_starts_a_node_with_flags_that_serve_understands() -> None:
    stage = last_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["quartet"]
    command = json.loads(stage["CMD"])
    assert command[0] == "serve"
    quartet_check(*command[1:])


def test_everything_the_image_copies_exists() -> None:
    for word, argument in instructions():
        if word == "COPY" and not argument.startswith("--from"):
            for source in argument.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_the_sample_configuration_is_what_a_node_does_without_one() -> None:
    sampled = quartet_check("--config", str(DEPLOY / "quartet.toml"))["config"]
    default = quartet_check()["config"]
    assert [(row["key"], row["value"]) for row in sampled] == [(row["key"], row["value"]) for row in default]


def test_the_sample_configuration_explains_every_key() -> None:
    sample = (DEPLOY / "quartet.toml").read_text()
    sections = dict(re.findall(r"^\[(\w+)\]\n(.*?)(?=^\[|\Z)", sample, re.MULTILINE | re.DOTALL))
    explained = {
        f"{section}.{key}"
        for section, body in sections.items()
        for key in re.findall(r"^# .+\n(?:# )?(\w+) = ", body, re.MULTILINE)
    }
    assert explained == {f"{section}.{key}" for section, key, _ in Config().entries()}


@pytest.mark.peer
def test_prometheus_takes_its_configuration() -> None:
    result = subprocess.run(
        [binary("promtool"), "check", "config", str(DEPLOY / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_scrapes_every_node_of_the_compose_file(compose: dict[str, Any]) -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scrape for group in job["static_configs"] for target in group["targets"]]
    assert targets == [f"{node}:7401" for node in NODES]
    mounted = compose["services"]["prometheus"]["volumes"][0]
    assert mounted == "./prometheus.yml:/etc/prometheus/prometheus.yml:ro"
