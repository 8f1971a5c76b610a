"""Who may become a link: the words that two nodes say first, and how each judges the other's.

The node that dialled says hello, the other welcomes it or refuses it by name, the first confirms. Until the confirmation came the
accepting side changes nothing: a greeting that lost a race, or was never meant seriously, cannot disturb a link that works.

Two nodes that dial one another at once: the one with the greater id refuses the other's hello as crossed, the other gives its own dial
up. As neither begins a dial while a welcome of its own is unanswered, exactly one of the two becomes the link.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from consensus.transport.frames import FrameError

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1
FORMAT = 2  # of journal, snapshots and entries; 1 were single files without segments
NAME_LETTERS_MAX = 255
SENTENCE_LETTERS_MAX = 300
URI_PREFIX = "quorate:"  # a certificate names its node as URI `quorate:<node id>`


class Reason(enum.Enum):
    """Why somebody is no link; the value travels."""

    SILENT = "silent"
    RUBBISH = "rubbish"
    TOO_LONG = "too-long"
    ANOTHER_CLUSTER = "another-cluster"
    ANOTHER_NODE = "another-node"
    OWN_ID = "own-id"
    PROTOCOL = "protocol"
    FORMAT = "format"
    CERTIFICATE = "certificate"
    TLS_EXPECTED = "tls-expected"
    TLS_UNEXPECTED = "tls-unexpected"
    TOO_MANY = "too-many"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    CROSSED = "crossed"  # no fault: see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a node says of itself."""

    cluster: str
    node: str
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    own: Identity
    to: str  # whom the caller believes to have reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    own: Identity
    protocol: int  # the one that both speak from now on


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The caller agrees: the link counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    reason: Reason
    sentence: str


Word = Hello | Welcome | Confirm | Refusal


def encode_word(word: Word) -> dict[str, Any]:
    match word:
        case Hello():
            return {"type": "hello", "to": word.to, **_identity_to_map(word.own)}
        case Welcome():
            return {"type": "welcome", "protocol": word.protocol, **_identity_to_map(word.own)}
        case Confirm():
            return {"type": "confirm"}
        case Refusal():
            return {"type": "refusal", "reason": word.reason.value, "sentence": word.sentence}


def decode_word(message: dict[str, Any]) -> Word:
    """Raises `FrameError`. Unknown fields are left to newer versions; an unknown reason counts as rubbish."""
    match message["type"]:
        case "hello":
            return Hello(own=_identity_from_map(message), to=_text(message, "to"))
        case "welcome":
            return Welcome(own=_identity_from_map(message), protocol=_number(message, "protocol"))
        case "confirm":
            return Confirm()
        case "refusal":
            said = _text(message, "reason")
            reason = next((reason for reason in Reason if reason.value == said), Reason.RUBBISH)
            sentence = _text(message, "sentence", SENTENCE_LETTERS_MAX)
            return Refusal(reason=reason, sentence="".join(c if c.isprintable() else "?" for c in sentence))
        case other:
            raise FrameError(f"a message of type {other[:40]!r} came before the greeting was over")


def judge_hello(hello: Hello, own: Identity, certified: Collection[str] | None) -> Welcome | Refusal:
    """By the node that was called. `certified`: the URIs of the caller's certificate, None without TLS."""
    caller = hello.own
    if caller.cluster != own.cluster:
        return _other_cluster(own, caller)
    if caller.node == own.node:
        return Refusal(
            reason=Reason.OWN_ID,
            sentence=f"{own.node} is the id of this node: give each node its own --listen",
        )
    if hello.to != own.node:
        return Refusal(
            reason=Reason.ANOTHER_NODE,
            sentence=f"this is node {own.node}, not {hello.to}: correct the address in --peers or --listen",
        )
    protocol = choose_protocol(caller, own)
    if protocol is None or abs(caller.format - own.format) > 1:
        return _other_version(own, caller)
    return _certificate_refusal(caller.node, certified) or Welcome(own=own, protocol=protocol)


def judge_welcome(
    welcome: Welcome, own: Identity, to: str, certified: Collection[str] | None
) -> Confirm | Refusal:
    """By the node that called `to`."""
    called = welcome.own
    if called.cluster != own.cluster:
        return _other_cluster(own, called)
    if called.node != to:
        return Refusal(
            reason=Reason.ANOTHER_NODE, sentence=f"{to} was called and {called.node} answered there"
        )
    if welcome.protocol != choose_protocol(called, own) or abs(called.format - own.format) > 1:
        return _other_version(own, called)
    return _certificate_refusal(called.node, certified) or Confirm()


def choose_protocol(one: Identity, other: Identity) -> int | None:
    """The newest that both speak."""
    newest = min(one.protocol_max, other.protocol_max)
    return newest if newest >= max(one.protocol_min, other.protocol_min) else None


def _certificate_refusal(node: str, certified: Collection[str] | None) -> Refusal | None:
    if certified is None or URI_PREFIX + node in certified:
        return None
    named = ", ".join(uri.removeprefix(URI_PREFIX) for uri in certified if uri.startswith(URI_PREFIX))
    sentence = f"the certificate of node {node} names {named[:NAME_LETTERS_MAX] or 'no node'}: make one by `quorate certs node {node}`"
    return Refusal(reason=Reason.CERTIFICATE, sentence=sentence[:SENTENCE_LETTERS_MAX])


def _other_cluster(own: Identity, theirs: Identity) -> Refusal:
    sentence = f"node {own.node} belongs to cluster {own.cluster!r}, {theirs.node} to {theirs.cluster!r}"
    return Refusal(reason=Reason.ANOTHER_CLUSTER, sentence=sentence[:SENTENCE_LETTERS_MAX])


def _other_version(own: Identity, theirs: Identity) -> Refusal:
    if choose_protocol(own, theirs) is None:
        sentence = (
            f"node {own.node} speaks protocol {own.protocol_min} to {own.protocol_max}, {theirs.node} "
            f"{theirs.protocol_min} to {theirs.protocol_max}: upgrade one version at a time"
        )
        return Refusal(reason=Reason.PROTOCOL, sentence=sentence[:SENTENCE_LETTERS_MAX])
    sentence = (
        f"node {own.node} has format {own.format}, {theirs.node} has {theirs.format}: "
        "only neighbouring versions work together, upgrade one version at a time"
    )
    return Refusal(reason=Reason.FORMAT, sentence=sentence[:SENTENCE_LETTERS_MAX])


def _identity_to_map(own: Identity) -> dict[str, Any]:
    return {
        "cluster": own.cluster,
        "node": own.node,
        "protocol_min": own.protocol_min,
        "protocol_max": own.protocol_max,
        "format": own.format,
    }


def _identity_from_map(message: dict[str, Any]) -> Identity:
    return Identity(
        cluster=_text(message, "cluster"),
        node=_text(message, "node"),
        protocol_min=_number(message, "protocol_min"),
        protocol_max=_number(message, "protocol_max"),
        format=_number(message, "format"),
    )


def _text(message: dict[str, Any], field: str, letters_max: int = NAME_LETTERS_MAX) -> str:
    value = message.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= letters_max:
        raise FrameError(
            f"{message['type']} has no {field}: a text of 1 to {letters_max} letters was expected"
        )
    if not value.isprintable() and field != "sentence":
        raise FrameError(f"{message['type']} has a {field} with letters that cannot be printed")
    return value


def _number(message: dict[str, Any], field: str) -> int:
    value = message.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 65_536:
        raise FrameError(f"{message['type']} has no {field}: a number below 65536 was expected")
    return value
