"""The cluster's own certificate authority: makes what mutual TLS needs, in one directory (shell).

Only `ca.key` can make members: it belongs on no node. ECDSA on P-256, because its handshakes are ten times cheaper than RSA's.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consensus.errors import CertificateError
from consensus.transport.certificates import TlsFiles, load_certificate, read
from consensus.transport.handshake import URI_PREFIX
from consensus.transport.resolver import split_address

CA_DAYS = 3650
NODE_DAYS = 825  # as long as a browser would believe one; a restart a year is no burden
BACKDATED = timedelta(hours=1)  # clocks of a cluster differ
COMMON_NAME_LETTERS_MAX = 64  # by X.509


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeCertificate:
    certificate: Path
    key: Path
    expires: datetime
    replaced: bool


def make_authority(directory: Path, *, overwrite: bool = False, days: float = CA_DAYS) -> MadeCertificate:
    """Writes ca.crt and ca.key. Raises `CertificateError`, also when there is one and `overwrite` is not set."""
    certificate_path, key_path = directory / "ca.crt", directory / "ca.key"
    replaced = _check_absent(
        (certificate_path, key_path), overwrite, "replacing it makes the certificates of all nodes worthless"
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "quorate authority")])
    now = datetime.now(UTC)
    certificate = (
        _builder(name, name, key, now, now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_pair(certificate_path, certificate, key_path, key)
    return MadeCertificate(
        certificate=certificate_path, key=key_path, expires=certificate.not_valid_after_utc, replaced=replaced
    )


def make_node_certificate(
    directory: Path, node: str, *, overwrite: bool = False, days: float = NODE_DAYS
) -> MadeCertificate:
    """For the node that listens on `node` ("host:port"), signed by the authority in `directory`. Raises `CertificateError`."""
    try:
        host, _ = split_address(node)
    except ValueError as error:
        raise CertificateError(str(error)) from None
    files = TlsFiles.of_node(directory, node)
    replaced = _check_absent((files.certificate, files.key), overwrite, f"it is the identity of node {node}")
    authority = load_certificate(files.ca, "the authority's certificate")
    authority_key = _load_key(directory / "ca.key", authority)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    ends = min(now + timedelta(days=days), authority.not_valid_after_utc)
    if authority.not_valid_after_utc <= now:
        raise CertificateError(f"{files.ca} has expired: make a new authority by `quorate certs ca`")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"quorate {node}"[:COMMON_NAME_LETTERS_MAX])])
    certificate = (
        _builder(name, authority.subject, key, now, ends, authority_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(_names(node, host)), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write_pair(files.certificate, certificate, files.key, key)
    return MadeCertificate(
        certificate=files.certificate,
        key=files.key,
        expires=certificate.not_valid_after_utc,
        replaced=replaced,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    ends: datetime,
    issuer_key: ec.EllipticCurvePrivateKey | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()),
            critical=False,
        )
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(node: str, host: str) -> list[x509.GeneralName]:
    try:
        uri = x509.UniformResourceIdentifier(URI_PREFIX + node)
        try:
            return [uri, x509.IPAddress(ipaddress.ip_address(host))]
        except ValueError:
            return [uri, x509.DNSName(host)]
    except ValueError:
        raise CertificateError(f"{host!r} is no host name: write it in ASCII letters") from None


def _load_key(path: Path, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read(path, "the authority's key"), None)
    except (ValueError, TypeError):
        raise CertificateError(f"{path} is no private key in PEM form without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != authority.public_key():
        raise CertificateError(f"{path} is not the key of the authority in {path.with_suffix('.crt')}")
    return key


def _check_absent(paths: tuple[Path, ...], overwrite: bool, warning: str) -> bool:
    """Whether something is replaced. Raises `CertificateError` when nobody asked for that."""
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise CertificateError(
            f"{existing[0]} exists and {warning}: give --overwrite to replace it all the same"
        )
    return bool(existing)


def _write_pair(
    certificate_path: Path, certificate: x509.Certificate, key_path: Path, key: ec.EllipticCurvePrivateKey
) -> None:
    key_bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        certificate_path.parent.mkdir(parents=True, exist_ok=True)
        _write(key_path, key_bytes, 0o600)
        _write(certificate_path, certificate.public_bytes(Encoding.PEM), 0o644)
    except OSError as error:
        raise CertificateError(f"{error.filename or key_path} cannot be written: {error.strerror}") from None


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
