"""The task of the failover bench: it leaves its key and the moment, and costs nothing else."""

import os
import struct
import time

from executor import Context, handler

RUN = struct.Struct("<QQ")  # key, monotonic nanoseconds
_open_files: dict[str, int] = {}


@handler(lane="cpu-short")
def note_run(file: str, context: Context) -> None:
    if file not in _open_files:
        _open_files[file] = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_open_files[file], RUN.pack(context.key, time.monotonic_ns()))  # appended whole or not at all
