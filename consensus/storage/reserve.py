"""A file that is only there to be given up: on a full disk its removal makes the room that a start or a vote needs."""

from __future__ import annotations

from consensus.storage.disk import Disk, is_full

RESERVE_NAME = "reserve"
RESERVE_BYTES = 1 << 20  # an identity, two vote slots and a segment header fit many times, on any block size
_CALLS_BETWEEN_TRIES = 256  # a disk that stays nearly full is not asked for a whole MiB at every sync


class Reserve:
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._present = RESERVE_NAME in disk.names() and disk.size_bytes(RESERVE_NAME) == RESERVE_BYTES
        self._tries_later = 0

    def release(self) -> bool:
        """Makes room. False if it was given up before."""
        if not self._present:
            return False
        self._present = False
        self._disk.remove(RESERVE_NAME)
        self._disk.sync_directory()
        return True

    def restore(self) -> None:
        """Silently, as soon as there is room for it. Raises `OSError` for anything but a full disk."""
        if self._present:
            return
        if self._tries_later > 0:
            self._tries_later -= 1
            return
        if RESERVE_NAME in self._disk.names():
            self._disk.remove(RESERVE_NAME)
        try:
            file = self._disk.create(RESERVE_NAME)
            try:
                file.write(bytes(RESERVE_BYTES))
                file.sync()
            finally:
                file.close()
            self._disk.sync_directory()
        except OSError as error:
            if not is_full(error):
                raise
            self._tries_later = _CALLS_BETWEEN_TRIES
            if RESERVE_NAME in self._disk.names():
                self._disk.remove(RESERVE_NAME)
            return
        self._present = True
