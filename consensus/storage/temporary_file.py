"""A file that grows under a temporary name until it is whole, and is then installed under its own, or removed."""

from __future__ import annotations

from collections.abc import Callable

from consensus.storage.disk import Disk, DiskFull, is_full

SYNC_EVERY_BYTES = (
    1 << 20
)  # small syncs on the way: one big one at the end would hold up those of the journal


class TemporaryFile:
    """A full disk leaves it as it was before the call."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.name = name
        self.size_bytes = 0
        self.ended = False
        self._disk = disk
        self._unsynced_bytes = 0
        try:
            self._file = disk.create(name)
        except OSError as error:
            _name_full_disk(error)
            raise

    def append(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._unsynced_bytes += len(data)
            if self._unsynced_bytes >= SYNC_EVERY_BYTES:
                self._file.sync()
                self._unsynced_bytes = 0
        except OSError as error:
            if is_full(error):
                self._file.truncate(self.size_bytes)
            _name_full_disk(error)
            raise
        self.size_bytes += len(data)

    def install(self, rename: Callable[[str], None]) -> None:
        """Synced first. When it raises, the file is gone."""
        try:
            self._file.sync()
            self._file.close()
            rename(self.name)
        except OSError as error:
            self.remove()
            _name_full_disk(error)
            raise
        self.ended = True

    def remove(self) -> None:
        if not self.ended:
            self.ended = True
            self._file.close()
            if self.name in self._disk.names():
                self._disk.remove(self.name)


def _name_full_disk(error: OSError) -> None:
    if is_full(error):
        raise DiskFull("a snapshot does not fit") from error
