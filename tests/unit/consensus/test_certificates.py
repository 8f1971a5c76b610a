"""Certificates: what `quorate certs` makes works, keys are private, and whatever is wrong with a file is a sentence that names it."""

from __future__ import annotations

import logging
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from consensus.errors import CertificateError
from consensus.transport.authority import make_authority, make_node_certificate
from consensus.transport.certificates import TlsFiles, certified_uris, load_certificate, tls_contexts

pytestmark = pytest.mark.unit

NODE = "10.0.0.1:7000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    make_node_certificate(tmp_path, NODE)
    return tmp_path


def refusal(files: TlsFiles, node: str = NODE) -> str:
    with pytest.raises(CertificateError) as caught:
        tls_contexts(files, node)
    return str(caught.value)


@pytest.mark.parametrize(
    ("node", "host"),
    [
        (NODE, "10.0.0.1"),
        ("[fd00::1]:7000", "fd00::1"),
        ("node1.example:7000", "node1.example"),
        ("localhost:7000", "localhost"),
    ],
)
def test_what_is_made_names_the_node_and_its_host_and_can_be_used(
    tmp_path: Path, node: str, host: str
) -> None:
    make_authority(tmp_path)
    made = make_node_certificate(tmp_path, node)
    certificate = load_certificate(made.certificate, "the certificate")
    assert certified_uris(certificate) == [f"quorate:{node}"]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName) + [
        str(one) for one in names.get_values_for_type(x509.IPAddress)
    ]
    assert hosts == [host]
    tls_contexts(TlsFiles.of_node(tmp_path, node), node)


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    for path in (folder / "ca.key", TlsFiles.of_node(folder, NODE).key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(folder.glob("*.new"))


def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CertificateError, match="worthless"):
        make_authority(folder)
    with pytest.raises(CertificateError, match="--overwrite"):
        make_node_certificate(folder, NODE)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert make_node_certificate(folder, NODE, overwrite=True).replaced
    tls_contexts(TlsFiles.of_node(folder, NODE), NODE)
    assert make_authority(folder, overwrite=True).replaced
    assert "would be refused by every peer" in refusal(TlsFiles.of_node(folder, NODE))


def test_no_authority_no_certificate(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CertificateError, match=r"ca\.crt.*cannot be read"):
        make_node_certificate(tmp_path / "empty", NODE)
    with pytest.raises(CertificateError, match="ASCII"):
        make_node_certificate(folder, "knöten:7000")
    (folder / "ca.key").write_bytes(TlsFiles.of_node(folder, NODE).key.read_bytes())
    with pytest.raises(CertificateError, match="is not the key of the authority"):
        make_node_certificate(folder, "10.0.0.2:7000")
    with pytest.raises(CertificateError, match="expected host:port"):
        make_node_certificate(folder, "10.0.0.2")


def test_each_trouble_with_a_file_is_named(folder: Path, tmp_path: Path) -> None:
    files = TlsFiles.of_node(folder, NODE)
    missing, rubbish = tmp_path / "missing", tmp_path / "rubbish"
    rubbish.write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for part in ("ca", "certificate", "key"):
        said = refusal(replace(files, **{part: missing}))
        assert str(missing) in said
        assert "No such file" in said
        said = refusal(replace(files, **{part: rubbish}))
        assert str(rubbish) in said
        assert "PEM" in said
    assert "is not the key of" in refusal(replace(files, key=folder / "ca.key"))
    assert "does not name node 10.0.0.2:7000" in refusal(files, "10.0.0.2:7000")


def test_a_key_that_asks_for_a_password_is_refused_instead_of_asking(folder: Path) -> None:
    files = TlsFiles.of_node(folder, NODE)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    files.key.write_bytes(locked)
    assert "is encrypted" in refusal(files)


def test_a_key_that_cannot_be_read_is_named(folder: Path) -> None:
    files = TlsFiles.of_node(folder, NODE)
    files.key.unlink()
    files.key.mkdir()  # root may read every file, but no directory
    said = refusal(files)
    assert str(files.key) in said
    assert "Is a directory" in said


def test_an_expired_certificate_is_refused_and_one_that_ends_soon_is_announced(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = TlsFiles.of_node(folder, NODE)
    make_node_certificate(folder, NODE, overwrite=True, days=-0.01)
    said = refusal(files)
    assert str(files.certificate) in said
    assert "expired on" in said
    caplog.set_level(logging.WARNING)
    make_node_certificate(folder, NODE, overwrite=True, days=20)
    tls_contexts(files, NODE)
    assert "certificate_expires_soon" in caplog.text


def test_a_node_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, days=100)
    assert make_node_certificate(tmp_path, NODE, days=900).expires == authority.expires
    make_authority(tmp_path, days=-0.01, overwrite=True)
    with pytest.raises(CertificateError, match="has expired"):
        make_node_certificate(tmp_path, "10.0.0.2:7000")


def test_a_node_cannot_sign_for_others(folder: Path, tmp_path: Path) -> None:
    """Were a stolen node key good for making members, each node could add them."""
    other = tmp_path / "other"
    other.mkdir()
    thief = TlsFiles.of_node(folder, NODE)
    (other / "ca.crt").write_bytes(thief.certificate.read_bytes())
    (other / "ca.key").write_bytes(thief.key.read_bytes())
    made = make_node_certificate(other, "10.0.0.9:7000")
    chain = made.certificate.read_bytes() + thief.certificate.read_bytes()
    made.certificate.write_bytes(chain)
    forged = TlsFiles(ca=folder / "ca.crt", certificate=made.certificate, key=made.key)
    assert "would be refused by every peer" in refusal(forged, "10.0.0.9:7000")
