"""Certificates: a development CA, members' and clients' certificates, and answers to signing requests."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftmeta.tls import TlsFiles, node_uri, zone_uri

CA_LIFETIME = dt.timedelta(days=3650)
LEAF_LIFETIME = dt.timedelta(days=397)
BACKDATED = dt.timedelta(minutes=5)
"""Certificates are valid from a little before they are made, as clocks differ between machines."""

Clock = Callable[[], dt.datetime]


class PkiError(Exception):
    """A certificate was not made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate and its key, in memory."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def utc_now() -> dt.datetime:
    """The system's clock."""
    return dt.datetime.now(dt.UTC)


def create_ca(
    certificate: Path, key: Path, *, name: str = "Quartet development CA", overwrite: bool = False, now: Clock = utc_now
) -> Authority:
    """Make a self-signed CA that can issue leaf certificates only, and write it. Raises PkiError."""
    _free((certificate, key), overwrite)
    private = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    built = (
        _start(subject, subject, private.public_key(), CA_LIFETIME, now())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    _write(key, _key_pem(private), 0o600)
    _write(certificate, _pem(built), 0o644)
    return Authority(built, private)


def load_ca(certificate: Path, key: Path) -> Authority:
    """Read a CA. Raises PkiError when the files are unreadable, not a pair or not a CA's."""
    try:
        bundle = x509.load_pem_x509_certificates(certificate.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), password=None)
        # while one CA replaces another the file holds both: the one that signs is the key's
        found = next((one for one in bundle if one.public_key() == private.public_key()), bundle[0])
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except OSError as error:
        raise PkiError(f"{error.filename}: {error.strerror}; `quartet cert ca` makes a CA") from error
    except (ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise PkiError(f"{certificate}, {key}: not a CA and its unencrypted PEM key: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != found.public_key():
        raise PkiError(f"{key} is not the key of {certificate}; name the pair that was made together")
    if not constraints.ca:
        raise PkiError(f"{certificate} is not a CA's certificate and cannot issue others")
    return Authority(found, private)


def issue_node(
    authority: Authority,
    name: str,
    hosts: Sequence[str],
    certificate: Path,
    key: Path,
    *,
    overwrite: bool = False,
    now: Clock = utc_now,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> None:
    """Make key and certificate of the member `name` reachable as `hosts` (DNS names and IP addresses).

    Good for both ends of a connection, as members dial each other. Raises PkiError.
    """
    _free((certificate, key), overwrite)
    private = ec.generate_private_key(ec.SECP256R1())
    built = _node(authority, name, hosts, private.public_key(), now(), lifetime)
    _write(key, _key_pem(private), 0o600)
    _write(certificate, _pem(built), 0o644)


def issue_client(
    authority: Authority,
    name: str,
    zones: Sequence[str],
    certificate: Path,
    key: Path,
    *,
    overwrite: bool = False,
    now: Clock = utc_now,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> None:
    """Make key and certificate of a client that may name `zones`, at least one. Raises PkiError."""
    if not zones or not all(zones):
        raise PkiError("a client certificate names at least one zone, none of them empty")
    _free((certificate, key), overwrite)
    private = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(zone_uri(zone)) for zone in zones]
    use = [ExtendedKeyUsageOID.CLIENT_AUTH]
    built = _leaf(authority, name, names, use, private.public_key(), now(), lifetime)
    _write(key, _key_pem(private), 0o600)
    _write(certificate, _pem(built), 0o644)


def passing_client(
    authority: Authority, name: str, zone: str, lifetime: dt.timedelta, *, now: Clock = utc_now
) -> tuple[bytes, bytes]:
    """Make certificate and key (PKCS #8), both DER, of a client that is there for one call. Raises PkiError."""
    private = ec.generate_private_key(ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(zone_uri(zone))]
    built = _leaf(authority, name, names, [ExtendedKeyUsageOID.CLIENT_AUTH], private.public_key(), now(), lifetime)
    key = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return der(built), key


def request_node(name: str, key: Path, *, overwrite: bool = False) -> bytes:
    """Make a key that never leaves this machine and a PEM signing request for it, to be sent when joining."""
    _free((key,), overwrite)
    private = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(private, hashes.SHA256())
    _write(key, _key_pem(private), 0o600)
    return request.public_bytes(serialization.Encoding.PEM)


def sign_node_request(
    authority: Authority,
    request: bytes,
    name: str,
    hosts: Sequence[str],
    *,
    now: Clock = utc_now,
    lifetime: dt.timedelta = LEAF_LIFETIME,
) -> bytes:
    """Answer a signing request with a PEM certificate for the member `name`.

    Only the public key is taken from the request: who the certificate is for is decided by who signs. Raises PkiError
    for a malformed request, one not signed by its own key, or a key that is not P-256.
    """
    try:
        parsed = x509.load_pem_x509_csr(request)
        public = parsed.public_key()
        proven = parsed.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise PkiError(f"not a PEM certificate signing request: {error}") from error
    if not proven:
        raise PkiError("the signing request is not signed by its own key; make a new one")
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise PkiError("the signing request's key is not P-256; make a new one")
    return _pem(_node(authority, name, hosts, public, now(), lifetime))


def issued(certificate: bytes, authorities: Sequence[bytes]) -> bool:
    """Tell whether a PEM certificate was signed by one of `authorities`, which are DER. Raises PkiError."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        signers = [x509.load_der_x509_certificate(one) for one in authorities]
    except ValueError as error:
        raise PkiError(f"not a certificate: {error}") from error
    for signer in signers:
        with contextlib.suppress(ValueError, TypeError, InvalidSignature):
            leaf.verify_directly_issued_by(signer)
            return True
    return False


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def bundle(*files: Path) -> list[bytes]:
    """Return every certificate in some PEM files, each once, as DER. Raises PkiError."""
    found: dict[bytes, None] = {}
    for file in files:
        try:
            for one in x509.load_pem_x509_certificates(file.read_bytes()):
                found.setdefault(der(one))
        except OSError as error:
            raise PkiError(f"{file}: {error.strerror}") from error
        except ValueError as error:
            raise PkiError(f"{file} holds no PEM certificate: {error}") from error
    return list(found)


def write_bundle(path: Path, certificates: Sequence[bytes]) -> None:
    """Write DER certificates to a PEM file. Raises PkiError."""
    _write(path, b"".join(_pem(x509.load_der_x509_certificate(one)) for one in certificates), 0o644)


def write_key(path: Path, key: bytes) -> None:
    """Write a private key in PKCS #8 DER to a PEM file for its owner only. Raises PkiError."""
    try:
        private = serialization.load_der_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"not a private key: {error}") from error
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise PkiError("not an elliptic curve key")
    _write(path, _key_pem(private), 0o600)


def write_certificate(path: Path, certificate: bytes) -> None:
    """Write a PEM certificate that was received. Raises PkiError."""
    _write(path, certificate, 0o644)


def files_of(directory: Path, name: str) -> TlsFiles:
    """Where `issue_node` puts things by convention: ca.crt, NAME.crt and NAME.key in one directory."""
    return TlsFiles(directory / "ca.crt", directory / f"{name}.crt", directory / f"{name}.key")


def _node(
    authority: Authority,
    name: str,
    hosts: Sequence[str],
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(node_uri(name))]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            try:
                names.append(x509.DNSName(host.encode("idna").decode()))
            except UnicodeError as error:
                raise PkiError(f"{host!r} is neither an IP address nor a host name") from error
    use = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return _leaf(authority, name, names, use, public, now, lifetime)


def _leaf(
    authority: Authority,
    name: str,
    names: Sequence[x509.GeneralName],
    use: Sequence[x509.ObjectIdentifier],
    public: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    lifetime: dt.timedelta,
) -> x509.Certificate:
    end = authority.certificate.not_valid_after_utc
    if now >= end:
        raise PkiError(f"the CA expired on {end:%Y-%m-%d}; make a new one with `quartet cert ca`")
    issuer = authority.certificate.subject
    return (
        _start(_name(name), issuer, public, min(lifetime, end - now), now)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(use), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _start(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: dt.timedelta, now: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(name: str) -> x509.Name:
    if not name or len(name) > 64 or not name.isprintable():
        raise PkiError(f"{name!r} cannot be a name: 1 to 64 printable characters")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _free(paths: Sequence[Path], overwrite: bool) -> None:
    for path in paths:
        if path.exists() and not overwrite:
            raise PkiError(f"{path} exists; say --overwrite to replace it, or choose another place")


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, contents: bytes, mode: int) -> None:
    """Write a file whole or not at all; a key is never readable by others, not even for a moment."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise PkiError(f"{path}: {error.strerror}; is the directory writable?") from error
