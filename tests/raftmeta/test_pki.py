"""Certificates: what they say, who may use them for what, and what is refused; TLS contexts and gRPC over them."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness import certificates

from raftmeta import pki, tls
from raftmeta.serving import Server

NOW = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)


def now() -> dt.datetime:
    return NOW


@pytest.fixture
def ca(tmp_path: Path) -> pki.Authority:
    return pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key", now=now)


def loaded(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_a_ca_signs_leaves_and_nothing_else(tmp_path: Path, ca: pki.Authority) -> None:
    constraints = ca.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    assert ca.certificate.not_valid_before_utc == NOW - pki.BACKDATED
    assert ca.certificate.not_valid_after_utc == NOW + pki.CA_LIFETIME
    again = pki.load_ca(tmp_path / "ca.crt", tmp_path / "ca.key")
    assert again.certificate == ca.certificate


def test_a_node_certificate_says_where_and_who_the_member_is(tmp_path: Path, ca: pki.Authority) -> None:
    pki.issue_node(ca, "n 1", ["a.example", "10.0.0.1", "::1"], tmp_path / "c", tmp_path / "k", now=now)
    made = loaded(tmp_path / "c")
    made.verify_directly_issued_by(ca.certificate)
    assert names(made).get_values_for_type(x509.DNSName) == ["a.example"]
    assert names(made).get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    assert names(made).get_values_for_type(x509.UniformResourceIdentifier) == ["quartet://node/n%201"]
    assert made.not_valid_before_utc == NOW - pki.BACKDATED
    assert made.not_valid_after_utc == NOW + pki.LEAF_LIFETIME
    public = made.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert isinstance(public.curve, ec.SECP256R1)
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_client_certificate_names_its_zones_and_cannot_serve(tmp_path: Path, ca: pki.Authority) -> None:
    pki.issue_client(ca, "app", ["default", "a/b"], tmp_path / "c", tmp_path / "k", now=now)
    made = loaded(tmp_path / "c")
    uris = names(made).get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["quartet://zone/default", "quartet://zone/a%2Fb"]
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    seen = {"subjectAltName": tuple(("URI", uri) for uri in uris)}
    assert tls.node_names(seen) == frozenset()


def test_keys_are_readable_by_their_owner_only_and_nothing_else_is_left(tmp_path: Path, ca: pki.Authority) -> None:
    pki.issue_node(ca, "n1", [], tmp_path / "sub" / "n1.crt", tmp_path / "sub" / "n1.key", now=now)
    for key in (tmp_path / "ca.key", tmp_path / "sub" / "n1.key"):
        assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "sub")) == ["n1.crt", "n1.key"]


def test_a_certificate_never_outlives_its_ca(tmp_path: Path, ca: pki.Authority) -> None:
    late = NOW + pki.CA_LIFETIME - dt.timedelta(days=1)
    pki.issue_node(ca, "n1", [], tmp_path / "c", tmp_path / "k", now=lambda: late)
    assert loaded(tmp_path / "c").not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_a_signing_request_gives_its_key_and_nothing_else(tmp_path: Path, ca: pki.Authority) -> None:
    request = pki.request_node("liar", tmp_path / "k")
    made = x509.load_pem_x509_certificate(pki.sign_node_request(ca, request, "n7", ["h"], now=now))
    assert made.subject.rfc4514_string() == "CN=n7"
    assert names(made).get_values_for_type(x509.UniformResourceIdentifier) == ["quartet://node/n7"]
    key = serialization.load_pem_private_key((tmp_path / "k").read_bytes(), None)
    assert made.public_key() == key.public_key()


def foreign_request(kind: str) -> bytes:
    if kind == "junk":
        return b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
    curve = ec.SECP384R1() if kind == "curve" else ec.SECP256R1()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "n1")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.sign(ec.generate_private_key(curve), hashes.SHA256())
    if kind == "curve":
        return request.public_bytes(serialization.Encoding.PEM)
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[der.index(b"n1")] = ord("m")
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(("kind", "reason"), [("junk", "not a PEM"), ("curve", "not P-256"), ("forged", "its own key")])
def test_a_bad_signing_request_is_refused(ca: pki.Authority, kind: str, reason: str) -> None:
    with pytest.raises(pki.PkiError, match=reason):
        pki.sign_node_request(ca, foreign_request(kind), "n1", [], now=now)


Case = Callable[[Path, pki.Authority], object]


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (lambda d, ca: pki.create_ca(d / "ca.crt", d / "new.key"), "exists; say --overwrite"),
        (lambda d, ca: pki.issue_node(ca, "n", [], d / "c", d / "ca.key", now=now), "exists; say --overwrite"),
        (lambda d, ca: pki.request_node("n", d / "ca.key"), "exists; say --overwrite"),
        (lambda d, ca: pki.issue_node(ca, "", [], d / "c", d / "k", now=now), "cannot be a name"),
        (lambda d, ca: pki.issue_node(ca, "n" * 65, [], d / "c", d / "k", now=now), "cannot be a name"),
        (lambda d, ca: pki.issue_node(ca, "n\n", [], d / "c", d / "k", now=now), "cannot be a name"),
        (lambda d, ca: pki.issue_node(ca, "n", ["x" * 70], d / "c", d / "k", now=now), "neither an IP address nor"),
        (lambda d, ca: pki.issue_client(ca, "c", [], d / "c", d / "k", now=now), "at least one zone"),
        (lambda d, ca: pki.issue_client(ca, "c", [""], d / "c", d / "k", now=now), "at least one zone"),
        (
            lambda d, ca: pki.issue_node(ca, "n", [], d / "c", d / "k", now=lambda: NOW + dt.timedelta(days=4000)),
            "the CA expired",
        ),
        (lambda d, ca: pki.load_ca(d / "none.crt", d / "ca.key"), "quartet cert ca"),
        (lambda d, ca: pki.load_ca(d / "ca.key", d / "ca.key"), "not a CA and its"),
        (lambda d, ca: pki.issue_node(ca, "n", [], d / "ca.crt" / "c", d / "k", now=now), "is the directory writable"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_hint(
    tmp_path: Path, ca: pki.Authority, attempt: Case, reason: str
) -> None:
    before = (tmp_path / "ca.key").read_bytes()
    with pytest.raises(pki.PkiError, match=reason):
        attempt(tmp_path, ca)
    assert (tmp_path / "ca.key").read_bytes() == before


def test_overwriting_is_possible_when_asked_for(tmp_path: Path, ca: pki.Authority) -> None:
    again = pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key", overwrite=True, now=now)
    assert again.certificate.public_key() != ca.certificate.public_key()


def test_a_leaf_or_a_mismatched_key_is_no_ca(tmp_path: Path, ca: pki.Authority) -> None:
    pki.issue_node(ca, "n", [], tmp_path / "c", tmp_path / "k", now=now)
    with pytest.raises(pki.PkiError, match="cannot issue others"):
        pki.load_ca(tmp_path / "c", tmp_path / "k")
    with pytest.raises(pki.PkiError, match="not the key of"):
        pki.load_ca(tmp_path / "ca.crt", tmp_path / "k")


def test_contexts_demand_tls_13_and_a_certificate(tmp_path: Path) -> None:
    files = certificates.node(tmp_path, "n1")
    for context in (tls.server_context(files), tls.client_context(files)):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_key_of_another_pair_is_reported(tmp_path: Path) -> None:
    one, two = certificates.node(tmp_path, "n1"), certificates.node(tmp_path, "n2")
    with pytest.raises(tls.TlsError, match="the key must belong to the certificate"):
        tls.server_context(tls.TlsFiles(one.ca, one.certificate, two.key))


def test_a_context_follows_its_files_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    files = certificates.node(tmp_path, "n1")
    followed = tls.FollowedContext(files, tls.server_context)
    first = followed.current()
    assert followed.current() is first
    files.key.rename(tmp_path / "away")
    assert followed.current() is first
    files.key.write_text("garbage")
    assert followed.current() is first
    certificates.node(tmp_path, "n1", overwrite=True)
    second = followed.current()
    assert second is not first
    assert followed.current() is second


async def ask(port: int, credentials: grpc.ChannelCredentials) -> bytes:
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        call: Callable[..., Any] = channel.unary_unary("/t.T/Who", request_serializer=None, response_deserializer=None)
        return bytes(await call(b"", timeout=10))


async def test_grpc_requires_a_client_certificate_and_follows_its_files(tmp_path: Path) -> None:
    files = certificates.node(tmp_path, "n1")
    client = certificates.client(tmp_path, "z1", "z2")

    async def who(request: bytes, context: Any) -> bytes:
        return b" ".join(sorted(context.auth_context()["x509_subject_alternative_name"]))

    server = Server()
    server.add_registered_method_handlers("t.T", {"Who": grpc.unary_unary_rpc_method_handler(who)})
    port = server.listen("localhost:0", files)
    await server.start()
    try:
        assert await ask(port, tls.grpc_channel_credentials(client)) == b"quartet://zone/z1 quartet://zone/z2"
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, grpc.ssl_channel_credentials(files.ca.read_bytes()))
        before = tls.grpc_channel_credentials(client)
        pki.create_ca(tmp_path / "ca.crt", tmp_path / "ca.key", overwrite=True)
        files.key.write_text("garbage")
        assert await ask(port, before) == b"quartet://zone/z1 quartet://zone/z2"
        certificates.node(tmp_path, "n1", overwrite=True)
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, tls.grpc_channel_credentials(client))
        pki.issue_client(certificates.authority(tmp_path), "c", ["z3"], client.certificate, client.key, overwrite=True)
        assert await ask(port, tls.grpc_channel_credentials(client)) == b"quartet://zone/z3"
    finally:
        await server.stop(None)


def test_the_ca_that_signs_is_found_in_a_bundle_by_its_key(tmp_path: Path, ca: pki.Authority) -> None:
    other = pki.create_ca(tmp_path / "other.crt", tmp_path / "other.key", now=now)
    both = pki.bundle(tmp_path / "ca.crt", tmp_path / "other.crt", tmp_path / "ca.crt")
    assert both == [pki.der(ca.certificate), pki.der(other.certificate)]
    pki.write_bundle(tmp_path / "both.crt", both)
    assert pki.load_ca(tmp_path / "both.crt", tmp_path / "other.key").certificate == other.certificate
    assert pki.load_ca(tmp_path / "both.crt", tmp_path / "ca.key").certificate == ca.certificate
    for bad in (tmp_path / "none", tmp_path / "ca.key"):
        with pytest.raises(pki.PkiError):
            pki.bundle(bad)


def test_a_certificate_is_told_from_one_that_another_authority_issued(tmp_path: Path, ca: pki.Authority) -> None:
    other = pki.create_ca(tmp_path / "other.crt", tmp_path / "other.key", now=now)
    pki.issue_node(ca, "n1", [], tmp_path / "c", tmp_path / "k", now=now)
    certificate = (tmp_path / "c").read_bytes()
    assert pki.issued(certificate, [pki.der(other.certificate), pki.der(ca.certificate)])
    assert not pki.issued(certificate, [pki.der(other.certificate)])
    assert not pki.issued(certificate, [])
    with pytest.raises(pki.PkiError):
        pki.issued(b"nothing", [])


def test_a_passing_client_has_one_zone_and_lives_as_long_as_it_is_told(tmp_path: Path, ca: pki.Authority) -> None:
    certificate, key = pki.passing_client(ca, "joining", "-node", dt.timedelta(hours=1), now=now)
    made = x509.load_der_x509_certificate(certificate)
    assert names(made).get_values_for_type(x509.UniformResourceIdentifier) == ["quartet://zone/-node"]
    assert made.not_valid_after_utc == NOW + dt.timedelta(hours=1)
    pki.write_key(tmp_path / "key", key)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    private = serialization.load_pem_private_key((tmp_path / "key").read_bytes(), password=None)
    assert private.public_key() == made.public_key()
    with pytest.raises(pki.PkiError):
        pki.write_key(tmp_path / "other", b"nothing")
