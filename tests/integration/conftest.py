"""What the tests of links share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.raw_peer import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Turns all links of a test on its thread."""
    started = Loop()
    yield started
    started.close()
