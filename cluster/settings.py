"""The settings of one node: a frozen value, checked once, before anything is started."""

from __future__ import annotations

import tomllib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import SettingsError

ACKS = ("1", "all")
SYNCS = ("always", "interval")  # as consensus.SyncMode
WORKERS_MAX = 256
BACKLOG_MAX_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Addresses are "host:port". `peers` names the members of the Raft group (the own address may be among them).

    `join`: the group stands already and is told of this node by `quorate member add`. `sync`: what a node that loses power may lose.
    `workers`: processes that may run long tasks at once; None: one a core, two at least. `max_backlog_s`: while so much work waits in a
    lane of the cluster, submits to it are refused; `quorate limit set max-backlog-s` overrides it.
    `tls_dir`: as `quorate certs` fills it; without it members speak in plain, on loopback only unless `insecure`.
    """

    listen: str
    kafka: str
    handlers: tuple[str, ...]
    data_dir: Path
    api: str
    name: str
    peers: tuple[str, ...] = ()
    prefix: str = "quorate"
    acks: str = "1"
    workers: int | None = None
    cluster: str = "quorate"
    join: bool = False
    sync: str = "always"
    tls_dir: Path | None = None
    insecure: bool = False
    max_backlog_s: float = 86_400.0

    def checked(self) -> NodeSettings:
        """Returns itself, or raises `SettingsError` naming the setting that is wrong."""
        for name, value in (("--listen", self.listen), ("--api", self.api)):
            _check_address(name, value)
        for peer in self.peers:
            _check_address("--peers", peer)
        for broker in self.kafka.split(","):
            _check_address("--kafka", broker)
        if self.api == self.listen:
            raise SettingsError(f"--api and --listen are both {self.api}: give them different ports")
        if self.acks not in ACKS:
            raise SettingsError(f"--acks is {self.acks!r}: use one of {', '.join(ACKS)}")
        if self.sync not in SYNCS:
            raise SettingsError(f"--sync is {self.sync!r}: use one of {', '.join(SYNCS)}")
        if self.join and not set(self.peers) - {self.listen}:
            raise SettingsError("--join needs --peers: name members of the group that this node is to join")
        if self.insecure and self.tls_dir is not None:
            raise SettingsError(
                "--insecure and --tls-dir were both given: with certificates nothing is insecure"
            )
        if not 1.0 <= self.max_backlog_s <= BACKLOG_MAX_S:
            raise SettingsError(
                f"--max-backlog-s is {self.max_backlog_s:g}: use 1 to {BACKLOG_MAX_S:g} seconds"
            )
        if self.workers is not None and not 1 <= self.workers <= WORKERS_MAX:
            raise SettingsError(f"--workers is {self.workers}: use 1 to {WORKERS_MAX}")
        if not self.handlers:
            raise SettingsError("--handlers is empty: name at least one module that declares handlers")
        if not self.prefix or not all(c.isalnum() or c in "._-" for c in self.prefix):
            raise SettingsError(f"--prefix is {self.prefix!r}: use letters, digits, '.', '_' and '-'")
        return self


def _check_address(setting: str, address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not host or not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{setting} has {address!r}: expected host:port")


def read_settings(path: Path, known: Set[str], switches: Set[str] = frozenset()) -> dict[str, str]:
    """The settings of a TOML file by option name; lists become comma-separated text. `switches` of the known ones are
    true or false. Raises `SettingsError`.
    """
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"--config {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path} is no TOML: {error}") from error
    settings: dict[str, str] = {}
    for name, value in found.items():
        option = name.replace("-", "_")
        if option not in known:
            names = ", ".join(sorted(known))
            raise SettingsError(f"--config {path} has unknown setting {name!r}: known are {names}")
        if option in switches:
            if not isinstance(value, bool):
                raise SettingsError(f"--config {path}: {name} must be true or false")
            settings[option] = str(value).lower()
        elif isinstance(value, list) and all(isinstance(part, str) for part in value):
            settings[option] = ",".join(value)
        elif isinstance(value, str | int) and not isinstance(value, bool):
            settings[option] = str(value)
        else:
            raise SettingsError(f"--config {path}: {name} must be text, a whole number or a list of texts")
    return settings
