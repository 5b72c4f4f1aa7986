"""Documents that cannot rot: what they name exists."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from harness.sources import ROOT, tracked
from quartet_server.cli.app import create

DOCUMENTS = [path for path in tracked() if path.suffix == ".md"]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def read(name: str) -> str:
    return (ROOT / name).read_text()


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", read("Makefile"), re.MULTILINE))


def commands(text: str) -> list[str]:
    """Return what a reader would type: lines of `console` blocks that begin with `$ `, continued lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line[2:].split(" #")[0].strip() for line in joined.splitlines() if line.startswith("$ ")]


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == targets()
    assert {line.split()[0] for line in listed.splitlines() if line.startswith("  ")} == targets()


def test_contributing_explains_every_target() -> None:
    contributing = read("CONTRIBUTING.md")
    assert [target for target in sorted(targets()) if f"`make {target}" not in contributing] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_targets_that_a_document_names_exist(document: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)\b(?=`|\n| #)", read(str(document)))) - targets() <= set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_into_the_tree_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(str(document)))
    assert [link for link in links if not (ROOT / document.parent / link).exists()] == []


@cache
def help_of(*path: str) -> str:
    """What `quartet PATH --help` prints; nothing where there is no such command."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            create({})([*path, "--help"])
        except SystemExit as ended:
            return "" if ended.code else said.getvalue()
    return said.getvalue()


@pytest.mark.parametrize("command", commands(read("README.md")))
def test_commands_in_the_readme_exist_with_all_their_flags(command: str) -> None:
    command = re.sub(r"^(?:[A-Z_]+=\S+ |\. \S+ && )+", "", command)
    words = command.split()
    if words[0] == "make":
        assert words[1] in targets()
        return
    if words[0].rpartition("/")[2] != "quartet":
        assert words[0] in ("git", "cd", "bgd", "etcdctl", "curl", "export", "python", "source", "."), command
        return
    path = []
    for word in words[1:]:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        path.append(word)
    flags = {word.split("=")[0] for word in words if word.startswith("-") and word != "-"}
    while path and not help_of(*path):
        path.pop()  # an argument, not a sub-command
    assert path, f"no such command: {command}"
    assert [flag for flag in sorted(flags) if not re.search(rf"(?<![\w-]){flag}\b", help_of(*path))] == []


def test_the_readme_begins_with_two_commands_that_do_all_set_up() -> None:
    typed = [command for command in commands(read("README.md")) if command.startswith("make")]
    assert typed[:2] == ["make demo", "make test"]


def test_the_changelog_is_kept() -> None:
    changelog = read("CHANGELOG.md")
    assert changelog.startswith("# Changelog\n")
    releases = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    assert set(re.findall(r"^### (.*)$", changelog, re.MULTILINE)) <= KINDS
    assert re.search(r"^- \S", changelog, re.MULTILINE)


def test_the_architecture_shows_every_folder_of_the_server() -> None:
    text = read("ARCHITECTURE.md")
    folders = {path.parts[2] for path in tracked() if path.match("services/quartet_server/*/*.py")}
    folders |= {path.parts[1] for path in tracked() if path.match("raftmeta/*/*.py")} - {"v1"}
    assert [folder for folder in sorted(folders) if f"{folder}/" not in text] == []


def test_the_lock_names_the_public_index_and_nothing_else() -> None:
    packages = tomllib.loads(read("uv.lock"))["package"]
    sources = {tuple(package["source"].items()) for package in packages}
    assert sources == {(("editable", "."),), (("registry", "https://pypi.org/simple"),)}
    files = [
        file for package in packages for file in [*package.get("wheels", []), *filter(None, [package.get("sdist")])]
    ]
    assert files
    assert all(file["url"].startswith("https://files.pythonhosted.org/packages/") for file in files)
