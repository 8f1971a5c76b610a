"""What the tests of links, of runners and of the executor share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from executor import Form, Limits
from tests.integration.executor_desk import HANDLERS, Desk
from tests.integration.raw_peer import Loop
from tests.integration.runner_driver import Runner


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Turns all links of a test on its thread."""
    started = Loop()
    yield started
    started.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Handlers that misbehave in every way."""
    (tmp_path / "handlers_under_test.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "handlers_under_test"


@pytest.fixture
def desk(module: str) -> Iterator[Callable[..., Desk]]:
    """Makes executors, and ends them."""
    with contextlib.ExitStack() as stack:

        def make(workers: int = 1, limits: Limits | None = None) -> Desk:
            made = Desk([module], workers, limits)
            stack.callback(made.executor.stop, 0.0)
            return made

        yield make


@pytest.fixture
def start_runner() -> Iterator[Callable[..., Runner]]:
    """Makes runners of any form with the handlers of `child_handlers`, or other modules, and ends them."""
    with contextlib.ExitStack() as stack:

        def make(
            form: Form = Form.PROCESS, *modules: str, folder: Path = Path(__file__).parent, slots: int = 1
        ) -> Runner:
            made = Runner(form.value, folder, *(modules or ("child_handlers",)), slots=slots)
            stack.callback(made.close)
            return made

        yield make
