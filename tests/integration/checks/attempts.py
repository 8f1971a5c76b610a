"""Attempts of a task in processes of their own, and the HTTP service that they call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from executor import Context
from tests.chaos.line_process import LineProcess

HERE = Path(__file__).parent


class Attempt(LineProcess):
    """One attempt of a task, stopped at its first point."""

    def __init__(self, errors: Path, handler: str, context: Context, *places: object) -> None:
        super().__init__(
            HERE / "actor.py", [handler, str(context.key), str(context.attempt), *map(str, places)], errors
        )
        self.point = str(self.wait("at")[0])

    def go(self) -> Attempt:
        self.tell("go")
        return self

    def reach(self, point: str) -> Attempt:
        """Lets it go on until it is at this point."""
        while self.point != point:
            self.point = str(self.go().wait("at")[0])
        return self

    def finish(self) -> str:
        """Lets it go on to its end: what it raised, "" for nothing."""
        while True:
            line = self.go().wait_line("at", "over")
            if line[0] == "over":
                return str(line[1])


Start = Callable[..., Attempt]


class Service:
    """The HTTP service and what it did."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "effects"
        self._process = LineProcess(HERE / "service.py", [str(self._log)], folder / "service.err")
        self.url = f"http://127.0.0.1:{self._process.wait('port')[0]}"
        self.pause, self.resume, self.kill = self._process.pause, self._process.resume, self._process.kill

    def effects(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


def task(key: int, attempt: int = 1) -> Context:
    return Context(key=key, attempt=attempt, handler="pay")
