"""A real file system of 4 MiB, filled to the last byte: nothing acknowledged is lost, and with room again the node goes on.

It is a tmpfs inside a mount namespace of its own (`unshare`), seen by the writing process only; where the machine allows no
such namespace the test says so. The same rules on a simulated disk are in tests/unit/consensus/test_journal_trouble.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from consensus.storage.directory import open_storage
from consensus.storage.disk import DirectoryDisk, DiskFull
from consensus.storage.journal import SyncMode

path = Path(sys.argv[1])
(path / "ballast").write_bytes(bytes(1 << 20))
def start():
    return open_storage(DirectoryDisk(path), cluster="c", node="n", founders=["n"], sync=SyncMode.ALWAYS, boot_id="b",
                        segment_bytes_max=300_000).journal

journal, acknowledged, index, full = start(), 0, 0, 0
for _ in range(3):
    while True:
        index += 1
        journal.add(b"%d " % index * 300, index, 1)
        if index % 7 == 0:
            try:
                journal.sync()
                acknowledged = index
            except DiskFull as error:
                full += 1
                assert "make room" in str(error), error
                break
    assert journal.synced_index == acknowledged
    seen = start()  # as after a kill: what was acknowledged is there
    assert [entry[1] for entry in seen[:acknowledged]] == list(range(1, acknowledged + 1))
    seen._destroy()
    if full == 1:
        (path / "ballast").unlink()
        journal = start()  # goes on from the disk
        index = journal[-1][1]
    elif full == 2:
        journal = start()
        index = journal[-1][1]
found = start()[:]
assert [entry[1] for entry in found][:acknowledged] == list(range(1, acknowledged + 1))
assert all(entry[0] == b"%d " % entry[1] * 300 for entry in found)
print("acknowledged", acknowledged, "full", full)
"""


def test_a_full_file_system_costs_no_acknowledged_entry(tmp_path: Path) -> None:
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"', "sh"]
    target = str(tmp_path)
    if shutil.which("unshare") is None or subprocess.run([*mount, target, "true"], check=False).returncode:
        pytest.skip("MISSING PART: a mount namespace (unshare -rm) to fill a real file system of 4 MiB in")

    done = subprocess.run(
        [*mount, target, sys.executable, "-c", WRITER, target],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "full 3" in done.stdout
    assert int(done.stdout.split()[1]) > 1000
