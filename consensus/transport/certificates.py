"""Mutual TLS between nodes: which files a node needs, and what is wrong with them, said before anything is started (shell).

A node's certificate names its id as URI `quorate:<host:port>` and is signed by the cluster's own authority; `handshake.py` compares it
with the id that the peer claims, so a stolen certificate of one node does not make another. Host names are not compared: the id is
stronger, for it holds the port as well. TLS 1.3 only: both ends are ours.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consensus.errors import CertificateError
from consensus.transport.handshake import URI_PREFIX
from consensus.transport.stream import Cipher

EXPIRES_SOON = timedelta(days=30)  # time to plan a restart: certificates are read at start only
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def of_node(cls, directory: Path, node: str) -> TlsFiles:
        """As `quorate certs` names them."""
        name = "node-" + node.replace("[", "").replace("]", "").replace(":", "-")
        return cls(
            ca=directory / "ca.crt", certificate=directory / f"{name}.crt", key=directory / f"{name}.key"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContexts:
    server: ssl.SSLContext
    client: ssl.SSLContext


def tls_contexts(files: TlsFiles, node: str) -> TlsContexts:
    """Reads and tries the files of `node`. Raises `CertificateError` with what is wrong and in which file."""
    load_certificate(files.ca, "the authority's certificate")
    certificate = load_certificate(files.certificate, f"the certificate of node {node}")
    _check_dates(files.certificate, certificate, datetime.now(UTC))
    if URI_PREFIX + node not in certified_uris(certificate):
        raise CertificateError(
            f"{files.certificate} does not name node {node}: make its own by `quorate certs node {node}`"
        )
    _check_key(files.key)
    contexts = TlsContexts(
        server=_context(files, ssl.PROTOCOL_TLS_SERVER), client=_context(files, ssl.PROTOCOL_TLS_CLIENT)
    )
    contexts.server.num_tickets = 0  # sessions are not resumed: links live for days
    _try(contexts, files)
    return contexts


def tls_trouble(error: ssl.SSLError, who: str) -> str:
    """One sentence of what OpenSSL says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {who} is not accepted: {error.verify_message}"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "did not return a certificate" in reason:
        return f"{who} shows no certificate"
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return f"{who} does not accept the certificate of this node: {reason.partition('alert ')[2]}"
    return f"TLS with {who} failed: {reason}"


def load_certificate(path: Path, what: str) -> x509.Certificate:
    """Raises `CertificateError`."""
    try:
        return x509.load_pem_x509_certificate(read(path, what))
    except ValueError as error:
        raise CertificateError(
            f"{path}, {what}, is no certificate in PEM form: {_first_line(error)}"
        ) from None


def certified_uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def read(path: Path, what: str) -> bytes:
    """Raises `CertificateError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(
            f"{path}, {what}, cannot be read: {error.strerror}; `quorate certs` makes these files"
        ) from None


def _check_dates(path: Path, certificate: x509.Certificate, now: datetime) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        raise CertificateError(
            f"{path} expired on {ends:%Y-%m-%d %H:%M} UTC: make a new one by `quorate certs node`"
        )
    if now < begins:
        raise CertificateError(
            f"{path} is not valid before {begins:%Y-%m-%d %H:%M} UTC: check this machine's clock"
        )
    if ends - now < EXPIRES_SOON:
        _log.warning("certificate_expires_soon %s on %s UTC", path, f"{ends:%Y-%m-%d %H:%M}")


def _check_key(path: Path) -> None:
    try:
        load_pem_private_key(read(path, "the private key"), None)
    except TypeError:
        raise CertificateError(f"{path} is encrypted: a node needs its key without a password") from None
    except ValueError as error:
        raise CertificateError(f"{path} is no private key in PEM form: {_first_line(error)}") from None


def _context(files: TlsFiles, protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # see above
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(files.ca)
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"{files.key} is not the key of {files.certificate}") from None
        raise CertificateError(
            f"{files.certificate}, {files.key} and {files.ca} cannot be used: {error}"
        ) from None
    return context


def _try(contexts: TlsContexts, files: TlsFiles) -> None:
    """A handshake with ourselves finds what peers would object to: another authority, wrong purposes."""
    client, server = Cipher(contexts.client, is_server=False), Cipher(contexts.server, is_server=True)
    try:
        client.shake_hands()
        server.decrypt(memoryview(client.to_send()))
        client.decrypt(memoryview(server.to_send()))
        server.decrypt(memoryview(client.to_send()))
    except ssl.SSLError as error:
        said = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else error.reason
        raise CertificateError(
            f"{files.certificate} would be refused by every peer with {files.ca}: {said}"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
