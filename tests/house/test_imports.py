"""Imports point one way: service -> pillar contract -> driver, and the client knows no server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from harness.sources import imports, tracked, written

CONTRACT = ("raftmeta.metastore", "raftmeta.errors", "raftmeta.etcd")
"""What a domain service may know of the Metastore."""
PILLAR = (
    "quartet_server.objects.contract",
    "quartet_server.objects.digest",
    "quartet_server.objects.chunking",
    "quartet_server.objects.composed",
    "quartet_server.objects.mounts",
)
"""What a domain service may know of the ObjectStore: its contract, its names, where large contents are cut and how they are noted,
and what is mounted."""
MEMBERSHIP = {
    "cluster": ("raftmeta.consensus.contract", "raftmeta.identity", "raftmeta.pki"),
    "objects": ("raftmeta.consensus.contract",),
}
"""What a domain may know besides: who lets members in has to know what a member is, and to sign its certificate; who
spreads blobs over the members has to know them."""
TREE = ("quartet_server.files.places", "quartet_server.files.mounting")
"""What a domain service may know of the tree of files: where paths lead, and where a directory is now."""
KNOWN = {
    "maintenance": ("quartet_server.files", "quartet_server.objects.gc"),
    "snapshots": ("quartet_server.files", "quartet_server.workspaces.keys"),
    "versions": ("quartet_server.files",),
}
"""What a domain may know besides: the operators' service is a face on what collects blobs and what checks the tree; versions
are inodes that were, snapshots directories that were, and going back to one is a write like any other of the tree's."""


def domains() -> list[Path]:
    """Folders of quartet_server that hold a domain service; each has a service.py."""
    found = [path.parent for path in tracked() if path.match("services/quartet_server/*/service.py")]
    assert found
    return found


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    return [
        f"{path}: {name}"
        for path in paths
        for name in imports(path)
        if any(name == start or name.startswith(f"{start}.") for start in forbidden)
    ]


def test_raftmeta_knows_nothing_of_quartet() -> None:
    assert offenders(written("raftmeta/"), "quartet", "quartet_server") == []


def test_the_client_imports_no_server_but_for_the_one_in_memory() -> None:
    files = [path for path in written("clients/") if path.name != "_memory.py"]
    assert files
    assert offenders(files, "quartet_server", "raftmeta") == []


def test_no_domain_imports_another_domains_internals() -> None:
    wrong = []
    for domain in domains():
        others = [f"quartet_server.{other.name}" for other in domains() if other != domain]
        known = KNOWN.get(domain.name, ())
        wrong += [
            one for one in offenders(written(f"{domain}/"), *others) if not one.partition(": ")[2].startswith(known)
        ]
    assert [one for one in wrong if not one.partition(": ")[2].startswith((*PILLAR, *TREE))] == []


def test_domains_know_the_contract_of_the_metastore_and_no_driver() -> None:
    wrong = [
        f"{path}: {name}"
        for domain in domains()
        for path in written(f"{domain}/")
        for name in imports(path)
        if name.split(".")[0] == "raftmeta" and not name.startswith((*CONTRACT, *MEMBERSHIP.get(domain.name, ())))
    ]
    assert wrong == []


def test_nothing_that_is_installed_imports_tests_or_tools() -> None:
    tools = ("tests", "harness", "pytest", "hypothesis", "psutil", "benchmarks", "grpc_tools", "yaml")
    assert offenders(written("raftmeta/", "services/", "clients/"), *tools) == []


def test_the_client_can_be_imported_where_no_server_is_installed() -> None:
    program = "import sys; sys.modules.update(quartet_server=None, raftmeta=None); import quartet; print(sorted(quartet.__all__))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
