"""One directory of files as the storage sees it: a port, and its real form.

All of `storage/` reads and writes through `Disk`, so that the simulation can lose what was not synced, tear a write, fill
the disk or fail it. `DirectoryDisk` is the real form: plain `write`, `fdatasync`, `rename`, and `fsync` of the directory.
A full disk is its own error, `DiskFull`, because it alone may be tried again; what an `EIO` left behind nobody knows.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Protocol

_FULL = {errno.ENOSPC, errno.EDQUOT}


class DiskFull(OSError):
    """No room (or no quota) for what had to be written. Nothing was lost; the same call may be repeated later."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ENOSPC, f"the disk is full: {what}; make room, the node then goes on")


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


class DiskFile(Protocol):
    def write(self, data: bytes) -> None:
        """Appends all of `data`; when it raises, a part may have been appended."""

    def write_at(self, offset: int, data: bytes) -> None: ...
    def size_bytes(self) -> int: ...
    def truncate(self, size_bytes: int) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """Names are file names in one directory."""

    def names(self) -> list[str]: ...
    def size_bytes(self, name: str) -> int: ...
    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes: ...
    def open(self, name: str) -> DiskFile: ...
    def create(self, name: str) -> DiskFile: ...
    def rename(self, old: str, new: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def sync_directory(self) -> None: ...


class DirectoryDisk:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def names(self) -> list[str]:
        return sorted(os.listdir(self._path))

    def size_bytes(self, name: str) -> int:
        return os.stat(self._path / name).st_size

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        with (self._path / name).open("rb", buffering=0) as file:
            file.seek(offset)
            wanted = os.fstat(file.fileno()).st_size - offset if size_bytes is None else size_bytes
            parts = []
            while wanted > 0 and (part := file.read(wanted)):
                parts.append(part)
                wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def open(self, name: str) -> DiskFile:
        return _OpenFile(os.open(self._path / name, os.O_RDWR | os.O_CLOEXEC))

    def create(self, name: str) -> DiskFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return _OpenFile(os.open(self._path / name, flags, 0o600))

    def rename(self, old: str, new: str) -> None:
        os.replace(self._path / old, self._path / new)

    def remove(self, name: str) -> None:
        os.unlink(self._path / name)

    def sync_directory(self) -> None:
        handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _OpenFile:
    """Keeps its own end: with `O_APPEND` Linux would send every `pwrite` to the end of the file."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._end = os.fstat(handle).st_size

    def write(self, data: bytes) -> None:
        self.write_at(self._end, data)

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._handle, view, offset)
            offset += count
            self._end = max(self._end, offset)
            view = view[count:]

    def size_bytes(self) -> int:
        return self._end

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self._handle, size_bytes)
        self._end = size_bytes

    def sync(self) -> None:
        os.fdatasync(self._handle)

    def close(self) -> None:
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            os.close(handle)
