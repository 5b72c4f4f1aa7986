"""Off loopback a client certificate is required, and it lists the zones that its holder may name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc import aio
from harness.rpc import FOREIGN, SERVICE, failure, serving
from quartet_server.addresses import Address
from quartet_server.config import Limits
from quartet_server.rpc import current_zone
from quartet_server.rpc.port import PortRefused, bind, check, create

from raftmeta import pki
from raftmeta.tls import TlsFiles, grpc_channel_credentials

CODES = grpc.StatusCode


@pytest.fixture
def certificates(tmp_path: Path) -> TlsFiles:
    """A server's files; `client` makes clients' beside them."""
    authority = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    files = pki.files_of(tmp_path, "n1")
    pki.issue_node(authority, "n1", ["127.0.0.1", "localhost"], files.certificate, files.key)
    return files


def _client(server: TlsFiles, *zones: str) -> grpc.ChannelCredentials:
    authority = pki.load_ca(server.ca, server.ca.with_suffix(".key"))
    files = pki.files_of(server.ca.parent, "client")
    pki.issue_client(authority, "client", zones, files.certificate, files.key)
    return grpc_channel_credentials(files)


async def _tell(request: StringValue, context: object) -> StringValue:
    return StringValue(value=current_zone())


async def _ok(request: StringValue, context: object) -> StringValue:
    return request


@pytest.mark.parametrize(
    ("certified", "named", "answer"),
    [
        (["default"], None, "default"),
        (["red"], None, "red"),
        (["red"], "red", "red"),
        (["red", "blue"], "blue", "blue"),
        (["red", "default"], None, "default"),
        (["*"], None, "default"),
        (["*"], "anything", "anything"),
        (["red"], "blue", CODES.PERMISSION_DENIED),
        (["red"], "default", CODES.PERMISSION_DENIED),
        (["red", "blue"], None, CODES.PERMISSION_DENIED),
        (["*"], "NOT A ZONE", CODES.INVALID_ARGUMENT),
    ],
)
async def test_a_certificate_s_zones_rule_what_its_holder_may_name(
    certificates: TlsFiles, certified: list[str], named: str | None, answer: str | grpc.StatusCode
) -> None:
    credentials = _client(certificates, *certified)
    metadata = (("quartet-zone", named),) if named is not None else ()
    async with (
        serving({"Unary": ("unary", _tell)}, certificates=True, tls=certificates) as rpc,
        aio.secure_channel(rpc.address, credentials) as channel,
    ):
        call = rpc.unary(f"{SERVICE}/Unary", channel)(StringValue(), metadata=metadata)
        if isinstance(answer, str):
            assert (await call).value == answer
        else:
            got = await failure(call)
            assert got.code is answer
            assert got.info is not None
            assert got.info.reason in ("ZONE_DENIED", "ZONE_INVALID")
            assert "quartet " in got.info.metadata["hint"]


async def test_the_etcd_api_takes_any_certificate_of_the_authority(certificates: TlsFiles) -> None:
    credentials = _client(certificates, "red")
    async with (
        serving({}, foreign={"Unary": ("unary", _ok)}, certificates=True, tls=certificates) as rpc,
        aio.secure_channel(rpc.address, credentials) as channel,
    ):
        assert (await rpc.unary(f"{FOREIGN}/Unary", channel)(StringValue(value="x"))).value == "x"


async def test_without_a_certificate_there_is_no_connection(certificates: TlsFiles) -> None:
    anonymous = grpc.ssl_channel_credentials(root_certificates=certificates.ca.read_bytes())
    async with (
        serving({"Unary": ("unary", _ok)}, certificates=True, tls=certificates) as rpc,
        aio.secure_channel(rpc.address, anonymous) as channel,
    ):
        assert (await failure(rpc.unary(f"{SERVICE}/Unary", channel)(StringValue(), timeout=5))).code in (
            CODES.UNAVAILABLE,
            CODES.DEADLINE_EXCEEDED,
        )
        assert (await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue(), timeout=5))).code is CODES.UNAVAILABLE


async def test_a_port_that_wants_certificates_refuses_a_plaintext_caller() -> None:
    async with serving({"Unary": ("unary", _ok)}, certificates=True) as rpc:
        got = await failure(rpc.unary(f"{SERVICE}/Unary")(StringValue()))
    assert got.code is CODES.UNAUTHENTICATED
    assert got.info is not None
    assert got.info.reason == "CERTIFICATE_REQUIRED"


async def test_a_new_certificate_is_used_without_a_restart(certificates: TlsFiles) -> None:
    credentials = _client(certificates, "red")
    async with serving({"Unary": ("unary", _tell)}, certificates=True, tls=certificates) as rpc:
        async with aio.secure_channel(rpc.address, credentials) as channel:
            assert (await rpc.unary(f"{SERVICE}/Unary", channel)(StringValue())).value == "red"
        for name in ("ca.crt", "ca.key", "n1.crt", "n1.key", "client.crt", "client.key"):
            (certificates.ca.parent / name).unlink()
        authority = pki.create_ca(certificates.ca, certificates.ca.with_suffix(".key"), name="another")
        pki.issue_node(authority, "n1", ["127.0.0.1"], certificates.certificate, certificates.key)
        async with aio.secure_channel(rpc.address, _client(certificates, "blue")) as channel:
            assert (await rpc.unary(f"{SERVICE}/Unary", channel)(StringValue())).value == "blue"
        async with aio.secure_channel(rpc.address, credentials) as channel:
            assert (await failure(rpc.unary(f"{SERVICE}/Unary", channel)(StringValue(), timeout=5))).code in (
                CODES.UNAVAILABLE,
                CODES.DEADLINE_EXCEEDED,
            )


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "db.example.org"])
def test_a_port_that_others_can_reach_wants_tls_or_the_word(host: str, certificates: TlsFiles) -> None:
    with pytest.raises(PortRefused, match="plaintext") as caught:
        check(Address(host, 0), None, insecure=False)
    assert "quartet cert ca" in caught.value.hint
    assert "--insecure" in caught.value.hint
    check(Address(host, 0), None, insecure=True)
    check(Address(host, 0), certificates, insecure=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_may_be_plaintext(host: str) -> None:
    check(Address(host, 0), None, insecure=False)


async def test_missing_files_and_taken_ports_are_refused_with_a_hint(certificates: TlsFiles) -> None:
    first, second = create(Limits()), create(Limits())
    try:
        taken = bind(first, Address("127.0.0.1", 0), None)
        with pytest.raises(PortRefused) as caught:
            bind(second, taken, None)
        assert "--listen" in caught.value.hint
        with pytest.raises(PortRefused) as caught:
            bind(second, Address("127.0.0.1", 0), replace(certificates, key=certificates.key.with_name("no.key")))
        assert "no.key" in str(caught.value)
    finally:
        await first.stop(0)
        await second.stop(0)
