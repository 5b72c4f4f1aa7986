"""The rules of the house that a program can check: sizes, names, docstrings, words."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.sources import ROOT, is_generated, tracked, tree, written

TOP = {
    ".ci", ".gitattributes", ".gitignore", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "benchmarks", "clients", "deploy", "protos", "pyproject.toml", "raftmeta", "services", "tests", "uv.lock",
}  # fmt: skip
LONG = {Path("LICENSE"), Path("protos/raftmeta/etcd/rpc.proto"), Path("protos/quartet/errors/v1/errors.proto")}
"""The licence's text, a wire contract that others keep in one file of this name, and an enum, which is one whatever its length."""
SOURCES = ("raftmeta/", "services/", "clients/", "benchmarks/", "protos/", ".ci/")
PROSE = (".py", ".md", ".toml", ".yaml", ".yml", ".proto", ".txt", ".sh", "")
MACHINE = re.compile(r"(?<![\w.])/(?:work|root|home|tmp|Users)/\w")
UNSAFE = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}


def test_the_top_level_holds_what_it_should_and_nothing_else() -> None:
    assert {path.parts[0] for path in tracked()} == TOP


def test_no_hand_written_file_is_longer_than_500_lines() -> None:
    files = written(suffixes=PROSE)
    long = [f"{path}: {lines}" for path in files if path not in LONG and (lines := len(text(path).splitlines())) > 500]
    assert long == []


def test_half_of_the_python_files_have_at_most_200_lines() -> None:
    sizes = sorted(len(text(path).splitlines()) for path in written(*SOURCES) if path.name != "__init__.py")
    assert sizes[len(sizes) // 2] <= 200


def test_nothing_names_a_path_of_somebodys_machine() -> None:
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in written(suffixes=PROSE)
        if path.name != "test_sources.py"
        for number, line in enumerate(text(path).splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert found == []


def test_no_code_can_run_what_it_reads() -> None:
    found = [
        f"{path}: {name}"
        for path in written()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.split(".")[0] in UNSAFE
    ]
    called = [
        f"{path}:{node.lineno}: {node.func.id}"
        for path in written(*SOURCES)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec")
    ]
    assert found + called == []


def test_nothing_waits_in_a_way_that_may_swallow_its_cancellation() -> None:
    """Until Python 3.12, `asyncio.wait_for` returns and forgets a cancellation that comes as what it waits for is done."""
    found = [
        f"{path}:{node.lineno}"
        for path in written("raftmeta/", "services/", "clients/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and (ast.unparse(node.value), node.attr) == ("asyncio", "wait_for")
    ]
    assert found == [], "use asyncio.timeout"


def test_nobody_left_a_note_to_do_it_later() -> None:
    note = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    found = [
        f"{path}: {m[0]}" for path in written(*SOURCES, "tests/", suffixes=PROSE) if (m := note.search(text(path)))
    ]
    assert found == []


def test_every_module_says_in_its_docstring_what_it_is() -> None:
    bare = [str(path) for path in written() if path.name != "__init__.py" and not ast.get_docstring(tree(path))]
    assert [path for path in bare if not Path(path).name.startswith("test_")] == []


def public_functions(body: list[ast.stmt], scope: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            if not decorators & {"overload", "override", "setter"}:
                yield f"{scope}.{node.name}", node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{scope}.{node.name}")


def test_every_public_function_has_a_docstring() -> None:
    bare = [
        name
        for path in written(*SOURCES)
        for name, function in public_functions(tree(path).body, str(path))
        if not ast.get_docstring(function)
    ]
    assert bare == []


def test_tests_are_no_packages_except_the_harness() -> None:
    packages = [str(path) for path in written("tests/") if path.name == "__init__.py"]
    assert packages == ["tests/harness/__init__.py"]


def test_names_of_test_functions_are_sentences() -> None:
    short = [
        f"{path}: {node.name}"
        for path in written("tests/")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test")
        and len(node.name.split("_")) < 4
    ]
    assert short == []


def test_packages_that_are_installed_say_that_they_are_typed() -> None:
    for package in ("raftmeta", "services/quartet_server", "clients/python/quartet"):
        assert Path(package, "py.typed") in tracked()


def test_every_shell_script_parses_and_may_be_run() -> None:
    scripts = [path for path in tracked() if not is_generated(path) and (ROOT / path).read_bytes().startswith(b"#!")]
    assert Path(".ci/run") in scripts
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"
        if b"bash" in (ROOT / script).read_bytes().splitlines()[0]:
            subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)


def text(path: Path) -> str:
    return (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("data in /home/ann/q", True),
        ("see /tmp/x", True),
        ("https://example.org/work/item", False),
        ("the path /docs/work/x", False),
        ("./work/x", False),
    ],
)
def test_the_search_for_machine_paths_finds_them_and_nothing_else(line: str, found: bool) -> None:
    assert bool(MACHINE.search(line)) is found
