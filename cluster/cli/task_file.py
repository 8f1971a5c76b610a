"""A file of tasks that can be submitted in several sittings, and still each task once.

Beside `tasks.jsonl` a journal `tasks.jsonl.quorate` is kept: a head with the file's digest, then per
batch a "drawn" record with its keys, synced to disk before the batch is sent, and an "acknowledged"
record after. An interrupted batch is sent again under the same keys, and the same key is the same task.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from cluster.api import NewTask
from cluster.client import Client, error_of, new_task
from cluster.errors import Refused, SettingsError

BATCH_TASKS = 500  # about a tenth of a second each: a lively bar and few trips through Raft
NOT_NOW = ("unavailable", "resource-exhausted")
FIELDS = {"handler", "args", "kind"}
REFUSED_MAX = 1000  # remembered for the report; the journal has them all


@dataclass(slots=True, kw_only=True)
class Totals:
    """`refused` holds (line number, sentence)."""

    submitted: int = 0
    resumed: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)


class TaskFile:
    """Reads and checks the whole file at once. Raises `Refused` naming the first wrong line, `SettingsError`."""

    def __init__(self, path: Path, *, default_handler: str | None = None) -> None:
        self.state_path = path.with_name(path.name + ".quorate")
        self.totals = Totals()
        self._default_handler = default_handler
        self._journal: IO[str] | None = None
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
        self._digest = hashlib.sha256(content + (default_handler or "").encode()).hexdigest()
        self._tasks = [
            (number, self._parse(path, number, line))
            for number, line in enumerate(content.split(b"\n"), start=1)
            if line.strip()
        ]
        self.count = len(self._tasks)
        self._drawn: dict[int, list[int]] = {}
        self._acknowledged: set[int] = set()
        self._load()

    @property
    def acknowledged(self) -> int:
        """Tasks that earlier runs brought to the broker."""
        return sum(len(self._drawn[start]) for start in self._acknowledged)

    def __enter__(self) -> TaskFile:
        fresh = not self.state_path.exists()
        self._journal = self.state_path.open("a", encoding="utf-8")
        if fresh:
            self._write({"format": 1, "digest": self._digest, "tasks": self.count})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            self._journal.close()

    def submit_rest(self, client: Client) -> Iterator[int]:
        """Yields the number of tasks after each batch. Raises `Unavailable`, `Exhausted`; run it again to continue."""
        self.totals.resumed = self.acknowledged
        for start in range(0, self.count, BATCH_TASKS):
            if start in self._acknowledged:
                continue
            batch = self._tasks[start : start + BATCH_TASKS]
            keys = self._drawn.get(start)
            if keys is None:
                keys = client.reserve(len(batch))
                self._write({"drawn": start, "keys": keys})
            answers = client.submit_tasks(
                [replace(task, key=key) for (_, task), key in zip(batch, keys, strict=True)]
            )
            for (number, _), answer in zip(batch, answers, strict=True):
                if answer.code in NOT_NOW:
                    again = f"line {number}: {answer.error}: run the same command again to continue"
                    raise error_of(replace(answer, error=again))
                if answer.error is None:
                    self.totals.submitted += 1
                elif len(self.totals.refused) < REFUSED_MAX:
                    self.totals.refused.append((number, answer.error))
            self._write({"acknowledged": start})
            yield len(batch)

    def _parse(self, path: Path, number: int, line: bytes) -> NewTask:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise Refused(f"{path} line {number} is no JSON: {error}") from None
        if not isinstance(record, dict):
            raise Refused(f"{path} line {number}: expected an object with handler and args")
        unknown = sorted(set(record) - FIELDS)
        if unknown:
            raise Refused(f"{path} line {number} has {unknown[0]!r}: known are handler, args and kind")
        handler, arguments = record.get("handler", self._default_handler), record.get("args", [])
        kind = record.get("kind", "")
        if not isinstance(handler, str) or not handler:
            raise Refused(f"{path} line {number} names no handler")
        if not isinstance(arguments, list | dict):
            raise Refused(f"{path} line {number}: args must be a list or an object")
        if not isinstance(kind, str):
            raise Refused(f"{path} line {number}: kind must be text")
        try:
            return new_task(handler, arguments, kind=kind)
        except Refused as error:
            raise Refused(f"{path} line {number}: {error}") from None

    def _load(self) -> None:
        if not self.state_path.exists():
            return
        lines = self.state_path.read_text(encoding="utf-8").split("\n")
        torn = lines.pop()  # empty, or a record that a crash cut off: its batch was not sent yet
        try:
            records: list[dict[str, Any]] = [json.loads(line) for line in lines]
            if not records or records[0]["digest"] != self._digest:
                raise Refused(
                    f"{self.state_path} belongs to other content or another handler: delete it to submit all anew"
                )
            for record in records[1:]:
                if "drawn" in record:
                    self._drawn[record["drawn"]] = record["keys"]
                else:
                    self._acknowledged.add(record["acknowledged"])
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{self.state_path} is damaged ({error}): delete it to submit all anew"
            ) from None
        if torn:
            kept = "".join(line + "\n" for line in lines)
            self.state_path.write_text(kept, encoding="utf-8")

    def _write(self, record: dict[str, Any]) -> None:
        assert self._journal is not None, "use it as a context manager"
        self._journal.write(json.dumps(record) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())
