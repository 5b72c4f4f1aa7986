"""What the package offers, and what it must not need."""

from __future__ import annotations

import inspect
import subprocess
import sys

import quartet
from quartet import (
    _agents,
    _aio_agents,
    _aio_cluster,
    _aio_events,
    _aio_files,
    _aio_maintenance,
    _aio_mounts,
    _aio_parsed,
    _aio_projects,
    _aio_settings,
    _aio_snapshots,
    _aio_versions,
    _aio_workspaces,
    _cluster,
    _errors,
    _events,
    _files,
    _maintenance,
    _mounts,
    _parsed,
    _projects,
    _settings,
    _snapshots,
    _versions,
    _workspaces,
)


def test_all_is_sorted_and_names_what_is_there() -> None:
    assert sorted(quartet.__all__, key=lambda name: (not name.isupper(), name)) == quartet.__all__
    for name in quartet.__all__:
        assert getattr(quartet, name).__module__.startswith("quartet")


def test_every_error_is_exported_and_drawn_in_the_tree() -> None:
    classes = {
        name
        for name, value in vars(_errors).items()
        if inspect.isclass(value) and issubclass(value, _errors.QuartetError)
    }
    assert classes <= set(quartet.__all__)
    assert _errors.__doc__ is not None
    for name in classes:
        assert name in _errors.__doc__.split()


def test_the_asyncio_twins_have_the_same_methods_and_arguments() -> None:
    pairs = (
        (_files.Files, _aio_files.AsyncFiles),
        (_events.Events, _aio_events.AsyncEvents),
        (_agents.Agents, _aio_agents.AsyncAgents),
        (_settings.Settings, _aio_settings.AsyncSettings),
        (_cluster.Cluster, _aio_cluster.AsyncCluster),
        (_snapshots.Snapshots, _aio_snapshots.AsyncSnapshots),
        (_maintenance.Maintenance, _aio_maintenance.AsyncMaintenance),
        (_mounts.Mounts, _aio_mounts.AsyncMounts),
        (_versions.Versions, _aio_versions.AsyncVersions),
        (_parsed.Parsed, _aio_parsed.AsyncParsed),
        (_projects.Projects, _aio_projects.AsyncProjects),
        (_workspaces.Workspaces, _aio_workspaces.AsyncWorkspaces),
    )
    for one, other in pairs:
        mine = {name: method for name, method in vars(one).items() if not name.startswith("_")}
        theirs = {name: method for name, method in vars(other).items() if not name.startswith("_")}
        assert mine.keys() == theirs.keys()
        for name, method in mine.items():
            assert inspect.signature(method).parameters.keys() == inspect.signature(theirs[name]).parameters.keys()


def test_everything_but_the_node_in_memory_works_without_the_server() -> None:
    program = """
import importlib, pkgutil, sys
sys.modules["quartet_server"] = None
sys.modules["raftmeta"] = None
import quartet
for module in pkgutil.walk_packages(quartet.__path__, "quartet."):
    importlib.import_module(module.name)
quartet.Client("127.0.0.1:1").close()
try:
    quartet.Client(":memory:")
except quartet.ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "needs the server" in done.stdout
