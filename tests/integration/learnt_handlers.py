"""Handlers without a declared lane, for what a cluster learns of them."""

from __future__ import annotations

import time

from executor import handler


@handler
def naps(s: float) -> None:
    time.sleep(s)
