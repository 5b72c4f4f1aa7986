"""Where a value comes from: flag, variable, file, default, in this order; and what is refused."""

from __future__ import annotations

import ast
import inspect
import itertools
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import pytest
from cyclopts import App, CycloptsError, Parameter
from quartet_server import config as config_module
from quartet_server.config import SERVICES, Config, Log, Objects, Raft, Serve, Tls
from quartet_server.sources import Sources, unknown_variables
from quartet_server.validation import (
    external_endpoints,
    initial_cluster,
    opens_raft_port,
    problems,
    raft_tls_files,
    tls_files,
)

from raftmeta import pki


def _parse(arguments: list[str], environ: dict[str, str] | None = None) -> tuple[Config, Sources]:
    sources = Sources(environ or {})
    app = App(config=sources, result_action="return_value")

    @app.default
    def run(
        *,
        config: Config | None = None,
        config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    ) -> Config:
        return config or Config()

    found = app(arguments, exit_on_error=False, print_error=False)
    assert isinstance(found, Config)
    return found, sources


@pytest.mark.parametrize(("flag", "variable", "file"), list(itertools.product([True, False], repeat=3)))
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(
    flag: bool, variable: bool, file: bool, tmp_path: Path
) -> None:
    path = tmp_path / "quartet.toml"
    path.write_text('[serve]\nname = "of-file"\n' if file else "")
    arguments = ["--config", str(path), *(["--name", "of-flag"] if flag else [])]
    config, sources = _parse(arguments, {"QUARTET_SERVE_NAME": "of-variable"} if variable else {})
    expected = "of-flag" if flag else "of-variable" if variable else "of-file" if file else "n1"
    assert config.serve.name == expected
    origin = {"of-flag": "flag", "of-variable": "QUARTET_SERVE_NAME", "of-file": str(path)}
    assert sources.origin.get(("serve", "name")) == origin.get(expected)


VALUES = [
    ("serve", "data_dir", "/d", Path("/d")),
    ("serve", "insecure", "true", True),
    ("serve", "insecure", "false", False),
    ("raft", "heartbeat", "0.1", 0.1),
    ("raft", "quota_bytes", "5", 5),
    ("tls", "client_ca", "/ca", Path("/ca")),
    ("log", "format", "json", "json"),
    ("limits", "drain", "3", 3.0),
    ("secrets", "key_file", "/k", Path("/k")),
]


@pytest.mark.parametrize(("section", "key", "text", "value"), VALUES)
def test_every_kind_of_value_is_read_from_the_environment_and_from_a_file(
    section: str, key: str, text: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    literal = text if isinstance(value, (bool, int, float)) else f'"{text}"'
    path.write_text(f"[{section}]\n{key} = {literal}\n")
    variable = f"QUARTET_{section}_{key}".upper()
    for config, _ in (_parse([], {variable: text}), _parse([], {"QUARTET_CONFIG": str(path)})):
        assert getattr(getattr(config, section), key) == value


def test_the_file_named_by_the_flag_beats_the_one_named_by_the_variable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f'[serve]\nname = "{name}"\n')
    config, _ = _parse(["--config", str(tmp_path / "a")], {"QUARTET_CONFIG": str(tmp_path / "b")})
    assert config.serve.name == "a"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[serve]\nlistn = 'x'", ["Unknown key listn", "[serve]", "Did you mean listen?"]),
        ("[srve]\n", ["Unknown section [srve]", "Did you mean [serve]?"]),
        ("listen = 'x'", ["Unknown section [listen]"]),
        ("[serve]\nxyzzy = 1", ["Unknown key xyzzy"]),
        ("[serve", ["is not TOML"]),
        ("[limits]\ndrain = 'soon'", ["[limits] drain", '"soon"']),
        ("[log]\nformat = 'xml'", ["[log] format"]),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place_and_the_likely_word(
    text: str, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "quartet.toml"
    path.write_text(text)
    with pytest.raises(CycloptsError) as caught:
        _parse(["--config", str(path)])
    for word in [*words, str(path)]:
        assert word in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CycloptsError, match="Cannot read"):
        _parse(["--config", str(tmp_path / "none.toml")])


def test_a_bad_variable_is_told_by_its_name() -> None:
    with pytest.raises(CycloptsError, match="QUARTET_LIMITS_DRAIN"):
        _parse([], {"QUARTET_LIMITS_DRAIN": "soon"})


def test_misspelt_variables_are_found_and_others_left_alone() -> None:
    environ = {"QUARTET_SERVE_LISTN": "x", "QUARTET_SERVE_LISTEN": "y", "QUARTET_CLIENT_ENDPOINTS": "z", "PATH": "p"}
    assert unknown_variables(environ) == ["QUARTET_SERVE_LISTN"]


def test_every_key_has_help_and_flags_bear_their_section() -> None:
    app = App()

    @app.default
    def run(*, config: Config | None = None) -> None:
        """Nothing."""

    shown = {argument.keys: argument for argument in app.assemble_argument_collection() if len(argument.keys) == 2}
    expected = {(s.name, k.name) for s in fields(Config) for k in fields(getattr(Config(), s.name))}
    assert set(shown) == expected
    for (section, key), argument in shown.items():
        flag = key.replace("_", "-")
        assert argument.name == f"--{flag}" if section == "serve" else argument.name == f"--{section}-{flag}"


def test_every_key_says_what_it_means() -> None:
    tree = ast.parse(inspect.getsource(config_module))
    sections = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name != "Config"]
    assert len(sections) == len(fields(Config))
    for section in sections:
        body = section.body[1:]  # after the docstring
        for declared, text in zip(body[::2], body[1::2], strict=True):
            assert isinstance(declared, ast.AnnAssign)
            assert isinstance(text, ast.Expr)
            assert isinstance(text.value, ast.Constant)
            assert str(text.value.value).endswith(".")


def test_a_password_in_a_url_is_masked() -> None:
    config = Config(serve=Serve(metastore="etcd://root:hunter2@db:2379"))
    shown = {(section, key): value for section, key, value in config.entries()}
    assert shown["serve", "metastore"] == "etcd://****@db:2379"
    assert "hunter2" not in str(shown)


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ("", SERVICES),
        (" , ", SERVICES),
        ("settings,files", ("files", "settings")),
        ("files, files", ("files",)),
    ],
)
def test_services_are_each_offered_once_and_all_of_them_by_default(text: str, services: tuple[str, ...]) -> None:
    assert Config(serve=Serve(services=text)).services == services


CLUSTER = "n1=127.0.0.1:1,n2=127.0.0.1:2"
SAFE = Serve(insecure=True)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (Config(serve=Serve(listen="nowhere")), "serve.listen"),
        (Config(serve=Serve(listen_http="x:y")), "serve.listen_http"),
        (Config(serve=Serve(listen_raft="")), "serve.listen_raft"),
        (Config(serve=Serve(advertise="x")), "serve.advertise"),
        (Config(serve=Serve(services="files,fils")), "'fils'"),
        (Config(serve=Serve(metastore="http://x:1")), "etcd://"),
        (Config(serve=Serve(metastore="etcd://x")), "HOST:PORT"),
        (Config(serve=Serve(metastore="etcd://x:1", insecure=True), raft=Raft(initial_cluster=CLUSTER)), "exclude"),
        (Config(serve=SAFE, raft=Raft(initial_cluster="n1")), "NAME=HOST:PORT"),
        (Config(serve=SAFE, raft=Raft(initial_cluster="n1=h:1,n1=h:2")), "twice"),
        (Config(serve=SAFE, raft=Raft(initial_cluster="n2=h:1")), "not in the initial cluster"),
        (Config(serve=SAFE, raft=Raft(join="x")), "HOST:PORT"),
        (Config(serve=Serve(insecure=True, listen_raft="h:0"), raft=Raft(initial_cluster=CLUSTER)), "changes"),
        (Config(raft=Raft(initial_cluster=CLUSTER)), "plaintext"),
        (Config(serve=Serve(listen="0.0.0.0:7400")), "plaintext"),
        (Config(tls=Tls(cert=Path("/x"))), "--tls-client-ca and --tls-key missing"),
        (Config(raft=Raft(ca=Path("/x"), cert=Path("/x"))), "--raft-key missing"),
        (Config(tls=Tls(cert=Path("/no/c"), key=Path("/no/k"), client_ca=Path("/no/a"))), "/no/a"),
        (Config(raft=Raft(heartbeat=0.5)), "heartbeat"),
        (Config(raft=Raft(election_min=0.9)), "election_min"),
        (Config(objects=Objects(gc_grace=60.0)), "touch_seconds"),
        (Config(objects=Objects(touch_seconds=7200.0)), "gc_grace"),
        (Config(objects=Objects(gc_every=-1.0)), "gc_every"),
        (Config(objects=Objects(scrub_every=-1.0)), "scrub_every"),
        (Config(objects=Objects(scrub_bytes_per_second=0.0)), "scrub_bytes_per_second"),
    ],
)
def test_what_would_keep_a_node_from_starting_is_found_with_a_hint(config: Config, words: str) -> None:
    found = list(problems(config))
    assert len(found) == 1
    assert words in found[0].message + found[0].hint
    assert found[0].hint


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(log=Log(format="json")),
        Config(objects=Objects(gc_grace=1.0, touch_seconds=0.0, gc_every=0.0, scrub_every=0.0)),
        Config(serve=Serve(listen="0.0.0.0:7400", insecure=True)),
        Config(serve=Serve(insecure=True), raft=Raft(initial_cluster=CLUSTER)),
        Config(serve=Serve(metastore="etcd://127.0.0.1:2379,[::1]:2380", listen_http="")),
    ],
)
def test_a_good_configuration_has_no_problem(config: Config) -> None:
    assert list(problems(config)) == []


def test_certificates_that_fit_are_no_problem_and_open_every_port(tmp_path: Path) -> None:
    authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    files = pki.files_of(tmp_path, "n1")
    pki.issue_node(authority, "n1", ["127.0.0.1"], files.certificate, files.key)
    config = Config(
        serve=Serve(listen="0.0.0.0:7400"),
        tls=Tls(cert=files.certificate, key=files.key, client_ca=files.ca),
        raft=Raft(initial_cluster=CLUSTER, ca=files.ca, cert=files.certificate, key=files.key),
    )
    assert list(problems(config)) == []
    assert tls_files(config) == raft_tls_files(config) == files


@pytest.mark.parametrize(
    ("config", "opens"),
    [
        (Config(), False),
        (Config(serve=Serve(insecure=True)), False),
        (Config(raft=Raft(initial_cluster=CLUSTER)), True),
        (Config(raft=Raft(join="127.0.0.1:7400")), True),
        (Config(raft=Raft(cert=Path("c"))), True),
        (Config(serve=Serve(metastore="etcd://h:1"), raft=Raft(cert=Path("c"))), False),
    ],
)
def test_a_single_node_opens_no_raft_port(config: Config, opens: bool) -> None:
    assert opens_raft_port(config) is opens


def test_lists_of_addresses_are_read_in_order() -> None:
    config = Config(serve=Serve(metastore="etcd://a:1, [::1]:2/"), raft=Raft(initial_cluster=" n1=a:1 , n2=b:2 "))
    assert external_endpoints(config) == ["a:1", "[::1]:2"]
    assert initial_cluster(config) == {"n1": "a:1", "n2": "b:2"}
