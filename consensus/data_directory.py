"""Whose directory this is: an `identity` file, written once, refused when it names another cluster or node; and a lock."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

import msgpack

from consensus.errors import DataDirectoryError
from consensus.storage.journal import replace_file

VERSION = 1


def take_directory(directory: Path, *, cluster: str, node: str) -> IO[bytes]:
    """Creates or checks `directory`; the returned open file holds its lock. Raises `DataDirectoryError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("ab")
    except OSError as error:
        raise DataDirectoryError(f"data directory {directory} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataDirectoryError(f"data directory {directory} is in use by another process") from error
    try:
        _check_identity(directory, cluster, node)
    except BaseException:
        lock.close()
        raise
    return lock


def _check_identity(directory: Path, cluster: str, node: str) -> None:
    path = directory / "identity"
    if not path.exists():
        if (directory / "journal").exists():
            raise DataDirectoryError(
                f"{path} is missing although a journal is there: restore it or use another directory"
            )
        replace_file(path, bytes(msgpack.packb([VERSION, cluster, node])))
        return
    try:
        version, found_cluster, found_node = msgpack.unpackb(path.read_bytes())
    except Exception as error:  # msgpack raises several unrelated classes
        raise DataDirectoryError(f"{path} cannot be read: restore it or use another directory") from error
    if version != VERSION:
        raise DataDirectoryError(f"{path} has version {version}, this program knows {VERSION}")
    if found_cluster != cluster:
        raise DataDirectoryError(
            f"{directory} belongs to cluster {found_cluster!r}, not {cluster!r}: use another directory"
        )
    if found_node != node:
        raise DataDirectoryError(
            f"{directory} belongs to node {found_node}, not {node}: use another directory"
        )
    if not (directory / "journal").exists():
        raise DataDirectoryError(
            f"{directory / 'journal'} is missing: restore it, or move the directory away to start the node anew"
        )
