"""Unique keys and an executed set without Kafka, in one process: `python examples/key_service.py DIRECTORY [HOST:PORT PEER PEER]`."""

import sys

from consensus import KeyService

directory = sys.argv[1]
listen, *peers = sys.argv[2:] or ["127.0.0.1:7400"]
with KeyService(listen, peers, directory) as keys:
    block = keys.reserve(100)
    keys.execute(block[:10])
    print(f"session {keys.session} holds keys {block.start} to {block.stop - 1}")
    print(
        f"executed: {block[0]} {keys.is_executed(block[0], linearizable=True)}, {block[50]} {keys.is_executed(block[50])}"
    )
