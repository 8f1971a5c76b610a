"""Links with mutual TLS: the same promises, and whose certificate does not fit is refused in words that both sides read."""

from __future__ import annotations

import logging
import random
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.transport.authority import make_authority, make_node_certificate
from consensus.transport.certificates import TlsFiles
from consensus.transport.dialling import PATIENCE_S
from consensus.transport.handshake import Hello, Identity, Reason
from consensus.transport.links import Connected, Disconnected, Received, SocketLinks
from consensus.transport.reception import HANDSHAKE_S
from consensus.transport.stream import OUT_BYTES_MAX
from tests.integration.raw_peer import CLUSTER, WITHIN_S, Clock, Loop, RawPeer, free_addresses

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    return tmp_path


def files(folder: Path, node: str) -> TlsFiles:
    made = TlsFiles.of_node(folder, node)
    if not made.key.exists():
        make_node_certificate(folder, node)
    return made


def secured(folder: Path, node: str, clock: Clock | None = None) -> SocketLinks:
    return SocketLinks(node, cluster=CLUSTER, tls=files(folder, node), clock=clock or Clock())


def context(own: TlsFiles | None, ca: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(ca)
    if own is not None:
        made.load_cert_chain(own.certificate, own.key)
    return made


def test_messages_arrive_whole_and_in_order_both_ways(loop: Loop, folder: Path) -> None:
    # Given
    lesser, greater = free_addresses()
    loop.add(lesser, secured(folder, lesser))
    loop.add(greater, secured(folder, greater)).dial(lesser)
    loop.until(
        lambda: loop.events[lesser] == [Connected(greater)] and loop.events[greater] == [Connected(lesser)]
    )
    rng = random.Random(4)
    sent = [
        {"type": "x", "data": rng.randbytes(rng.choice([0, 9, 300, 70_000, 1_000_000]))} for _ in range(60)
    ]
    # When
    for message in sent:
        for source, target in ((lesser, greater), (greater, lesser)):
            while not loop.nodes[source].send(target, message):
                loop.turn(0.0)
    # Then
    loop.until(lambda: len(loop.messages(lesser)) == len(loop.messages(greater)) == 60)
    assert loop.messages(lesser) == loop.messages(greater) == sent


def test_two_nodes_that_call_one_another_at_once_settle_on_one_link(loop: Loop, folder: Path) -> None:
    nodes = lesser, greater = free_addresses()
    for seed in range(30):
        # Given: clocks that stand still, so that only the first calls count
        rng = random.Random(seed)
        times = {lesser: 0.0, greater: 0.0}
        for node in nodes:
            links = SocketLinks(
                node,
                cluster=CLUSTER,
                tls=files(folder, node),
                clock=lambda node=node, times=times: times[node],
            )
            loop.add(node, links)
        loop.nodes[lesser].dial(greater)
        loop.nodes[greater].dial(lesser)
        times[lesser] = PATIENCE_S
        # When
        end = time.monotonic() + WITHIN_S
        turns_after = 0
        while turns_after < 30:
            node = rng.choice(nodes)
            loop.events[node] += loop.nodes[node].receive(0.0)
            turns_after += bool(loop.events[lesser] and loop.events[greater])
            assert time.monotonic() < end, f"seed {seed}: {loop.events}"
        # Then
        assert loop.events.pop(lesser) == [Connected(greater)], seed
        assert loop.events.pop(greater) == [Connected(lesser)], seed
        loop.close()
        loop.nodes.clear()


def test_a_certificate_of_another_node_does_not_make_this_one(
    loop: Loop, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given
    own, peer = free_addresses()
    loop.add(own, secured(folder, own))
    # When
    thief = RawPeer(loop, own, context(files(folder, peer), folder / "ca.crt"))
    thief.say(Hello(own=Identity(cluster=CLUSTER, node="127.0.0.1:9"), to=own))
    # Then
    refusal = thief.refusal()
    assert refusal.reason is Reason.CERTIFICATE
    assert f"names {peer}" in refusal.sentence
    assert refusal.sentence in caplog.text
    thief.close()
    honest = RawPeer(loop, own, context(files(folder, peer), folder / "ca.crt"))
    honest.join(peer)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    honest.close()


@pytest.mark.parametrize(
    ("kind", "said", "alert"),
    [
        ("none", "shows no certificate", "certificate required"),
        ("another authority", "is not accepted: unable to get local issuer certificate", "unknown ca"),
        ("expired", "is not accepted: certificate has expired", "certificate expired"),
        ("old TLS", "failed: unsupported protocol", "protocol version"),
    ],
)
def test_who_has_no_good_certificate_is_refused_before_a_word_is_heard(
    loop: Loop,
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    said: str,
    alert: str,
) -> None:
    # Given
    own, peer = free_addresses()
    loop.add(own, secured(folder, own))
    match kind:
        case "none":
            client = context(None, folder / "ca.crt")
        case "another authority":
            make_authority(tmp_path / "other")
            client = context(files(tmp_path / "other", peer), folder / "ca.crt")
        case "expired":
            make_node_certificate(folder, peer, days=-0.01)
            client = context(TlsFiles.of_node(folder, peer), folder / "ca.crt")
        case _:
            client = context(files(folder, peer), folder / "ca.crt")
            client.maximum_version = ssl.TLSVersion.TLSv1_2
    # When
    stranger = RawPeer(loop, own, client)
    if not stranger.ended:
        stranger.say(Hello(own=Identity(cluster=CLUSTER, node=peer), to=own))
        assert stranger.hear() is None
    # Then
    assert alert in stranger.ended
    assert said in caplog.text
    assert loop.events[own] == []
    stranger.close()


def test_a_refused_certificate_is_named_in_the_log_of_both(
    loop: Loop, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller trusts two authorities and the called node only the other one."""
    # Given
    lesser, greater = free_addresses()
    make_authority(tmp_path / "other")
    both = tmp_path / "both.crt"
    both.write_bytes((folder / "ca.crt").read_bytes() + (tmp_path / "other" / "ca.crt").read_bytes())
    loop.add(lesser, secured(folder, lesser))
    caller = replace(files(tmp_path / "other", greater), ca=both)
    # When
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER, tls=caller)).dial(lesser)
    # Then
    loop.until(lambda: f"{lesser} does not accept the certificate of this node: unknown ca" in caplog.text)
    assert "the certificate of 127.0.0.1 is not accepted" in caplog.text


def test_a_node_without_tls_reads_that_it_is_wanted(
    loop: Loop, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lesser, greater = free_addresses()
    loop.add(lesser, secured(folder, lesser))
    loop.add(greater, SocketLinks(greater, cluster=CLUSTER)).dial(lesser)
    loop.until(lambda: f"{lesser} refuses this node: node {lesser} speaks with TLS only" in caplog.text)
    assert loop.events == {lesser: [], greater: []}


def test_a_node_with_tls_reads_that_the_others_have_none(
    loop: Loop, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lesser, greater = free_addresses()
    loop.add(lesser, SocketLinks(lesser, cluster=CLUSTER))
    loop.add(greater, secured(folder, greater)).dial(lesser)
    loop.until(lambda: f"{lesser} refuses this node: node {lesser} speaks without TLS" in caplog.text)
    assert loop.events == {lesser: [], greater: []}


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x05hello", b"\x17" * 40])
def test_rubbish_and_silence_instead_of_tls_end_by_name(
    loop: Loop, folder: Path, caplog: pytest.LogCaptureFixture, begin: bytes
) -> None:
    # Given
    clock = Clock()
    own, peer = free_addresses()
    loop.add(own, secured(folder, own, clock))
    loop.add(peer, secured(folder, peer)).dial(own)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    caplog.set_level(logging.WARNING)
    # When
    stranger = RawPeer(loop, own)
    stranger.send(begin)
    loop.turn(0.02)
    clock.ahead_s += HANDSHAKE_S + 0.1
    # Then
    loop.until(lambda: caplog.records)
    assert caplog.records[0].args[1] in ("silent", "certificate")  # type: ignore[index]
    loop.until(stranger.is_closed)
    assert [event for event in loop.events[own] if not isinstance(event, Received)] == [Connected(peer)]
    stranger.close()


def test_a_peer_that_does_not_read_fills_a_bounded_queue_and_loses_nothing_of_it(
    loop: Loop, folder: Path
) -> None:
    # Given
    own, peer = free_addresses()
    links = loop.add(own, secured(folder, own))
    raw = RawPeer(loop, own, context(files(folder, peer), folder / "ca.crt"))
    raw.join(peer)
    loop.until(lambda: loop.events[own] == [Connected(peer)])
    # When
    sent = 0
    while links.send(peer, {"type": "x", "n": sent, "data": bytes(50_000)}):
        sent += 1
        links.receive(0.0)
    assert links._links[peer].stream.unsent_bytes <= OUT_BYTES_MAX * 1.01  # TLS adds a little
    # Then
    for n in range(sent):
        message = raw.hear()
        assert message is not None
        assert message["n"] == n
    assert Disconnected(peer) not in loop.events[own]
    raw.close()
