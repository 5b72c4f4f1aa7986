"""The command line: help, JSON on stdout, words on stderr, exit codes, and errors that name what helps."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from harness.quartet import quartet
from quartet_server.cli import create
from quartet_server.rpc.zones import certified_zones

from raftmeta import pki
from raftmeta.tls import server_context

COMMANDS = [
    [],
    ["serve"],
    ["cluster"],
    ["cluster", "up"],
    ["cluster", "status"],
    ["cluster", "logs"],
    ["cluster", "down"],
    ["cert"],
    ["cert", "ca"],
    ["cert", "node"],
    ["cert", "client"],
    ["check"],
    ["version"],
    ["completion"],
    *(["trash", word] for word in ("list", "restore", "empty")),
    *(["quota", word] for word in ("set", "show", "rm")),
    *(["xattr", word] for word in ("list", "get", "set", "rm")),
    *(["workspace", word] for word in ("register", "ls", "show", "rm", "load")),
    *([word] for word in ("mount", "unmount", "mounts")),
    *(["root", word] for word in ("set", "list", "rm")),
    *([word] for word in ("ls", "find", "stat", "mkdir", "touch", "ln", "rm", "mv", "tree")),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: "-".join(words) or "quartet")
def test_every_command_has_help_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    create({})([*words, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: {' '.join(['quartet', *words])}")
    if words and words not in (["cluster"], ["cert"]):
        assert "Example" in text


def test_version_and_check_print_one_json_document_and_nothing_else() -> None:
    version = quartet("version", "-o", "json")
    assert (version.code, version.err) == (0, "")
    assert version.json["quartet"] == quartet("--version").out.strip()
    check = quartet("check", "-o", "json")
    assert (check.code, check.err) == (0, "")
    assert check.json["problems"] == []
    row = next(row for row in check.json["config"] if row["key"] == "serve.listen")
    assert row == {"key": "serve.listen", "value": "127.0.0.1:7400", "source": "default"}


def test_check_shows_where_a_value_comes_from_and_exits_non_zero_when_something_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text("[limits]\ndrain = 5\n")
    ran = quartet(
        "check", "--listen", "0.0.0.0:1", "--config", "q.toml", "-o", "json",
        env={"QUARTET_LOG_LEVEL": "debug", "QUARTET_LOG_LEVL": "x"}, cwd=tmp_path,
    )  # fmt: skip
    assert ran.code == 1
    source = {row["key"]: row["source"] for row in ran.json["config"]}
    assert (source["serve.listen"], source["limits.drain"]) == ("flag", "q.toml")
    assert source["log.level"] == "QUARTET_LOG_LEVEL"
    assert "plaintext" in ran.json["problems"][0]["message"]
    assert ran.json["unknown_variables"] == ["QUARTET_LOG_LEVL"]
    assert "hint: " in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["srve"], "serve"),
        (["serve", "--lisen", "x"], "Did you mean --listen?"),
        (["serve", "--log-format", "xml"], "json"),
        (["cluster", "up", "--nodes", "0"], "--nodes"),
        (["cluster", "up", "--nodes", "9"], "--nodes"),
        (["serve", "--listen", "0.0.0.0:7400"], "--insecure"),
        (["serve", "--raft-initial-cluster", "n1=127.0.0.1:1"], "--insecure"),
        (["serve", "--services", "fils"], "files"),
        (["serve", "--config", "/none.toml"], "/none.toml"),
        (["completion", "tcsh"], "bash"),
        (["cert", "client", "--zone", "Not A Zone"], "Not A Zone"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_right(arguments: list[str], words: str) -> None:
    ran = quartet(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("words", [["status"], ["logs"], ["down"]])
def test_commands_for_a_cluster_that_is_not_there_name_the_command_that_makes_one(
    words: list[str], tmp_path: Path
) -> None:
    ran = quartet("cluster", *words, "--data-dir", tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert f"hint: quartet cluster up --data-dir {tmp_path}" in ran.err


def test_a_damaged_record_of_a_cluster_is_told_and_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text('{"version": 1, "nodes": [{"name": "n1"')
    ran = quartet("cluster", "down", "--data-dir", tmp_path)
    assert ran.code == 1
    assert "damaged" in ran.err
    assert "hint: " in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_the_shell_takes(shell: str, tmp_path: Path) -> None:
    ran = quartet("completion", shell)
    assert ran.code == 0
    assert "cluster" in ran.out
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(ran.out)
        subprocess.run([shell, "-n", str(script)], check=True, timeout=30)


def test_certificates_are_made_that_tls_takes_and_never_replaced_unasked(tmp_path: Path) -> None:
    for words in (["ca"], ["node", "n1", "--host", "db.example"], ["client", "c", "--zone", "red", "--zone", "*"]):
        made = quartet("cert", *words, "--dir", tmp_path, "-o", "json")
        assert made.code == 0, made.err
        assert all(Path(path).exists() for path in made.json.values())
        again = quartet("cert", *words, "--dir", tmp_path)
        assert again.code == 1
        assert "--overwrite" in again.err
        assert quartet("cert", *words, "--dir", tmp_path, "--overwrite").code == 0
    server_context(pki.files_of(tmp_path, "n1"))
    pem = (tmp_path / "c.crt").read_text()
    parsed = ssl._ssl._test_decode_cert(str(tmp_path / "c.crt"))  # type: ignore[attr-defined]
    uris = [value.encode() for kind, value in parsed["subjectAltName"] if kind == "URI"]
    assert certified_zones({"x509_pem_cert": [pem.encode()], "peer_uri": uris}) == frozenset({"red", "*"})


def test_a_certificate_without_an_authority_names_the_command_that_makes_one(tmp_path: Path) -> None:
    ran = quartet("cert", "node", "n1", "--dir", tmp_path)
    assert ran.code == 1
    assert "quartet cert ca" in ran.err


def test_tables_are_aligned_and_people_s_words_stay_off_stdout(tmp_path: Path) -> None:
    table = quartet("version").out.splitlines()
    assert table[0].split() == ["PART", "VERSION"]
    column = table[0].index("VERSION")
    assert all(line[column - 1] == " " and line[column] != " " for line in table)
    document = json.loads(quartet("cert", "ca", "--dir", tmp_path / "x", "-o", "json").out)
    assert sorted(document) == ["certificate", "key"]


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    from harness.quartet import command, environment

    process = subprocess.Popen(command("check"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 0
