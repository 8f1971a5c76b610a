"""The tasks of the benches of latency and lanes. No lane is declared: the executor has to find out."""

from bench.work import burn_long, note_start, sleep_long, two_faced
from executor import handler

for _task in (note_start, sleep_long, burn_long, two_faced):
    handler(_task)
