"""One class for each reaction of a caller."""

from __future__ import annotations


class QuorateError(Exception):
    """Root of all errors that `cluster` raises on purpose. The text is one sentence for people."""


class Unavailable(QuorateError):
    """No node, no majority or no broker right now: try again later; keys already drawn stay valid."""


class Exhausted(QuorateError):
    """Too much work waits in the cluster already: submit again after `retry_after_s`, under the same key if it has one."""

    def __init__(self, sentence: str, *, retry_after_s: float) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class Refused(QuorateError):
    """The request itself is wrong (unknown handler, arguments, size): repeating it unchanged is useless."""


class SettingsError(QuorateError):
    """A setting is missing or wrong; the text names it and says what is expected."""


class RecordError(QuorateError):
    """Bytes from Kafka that are no task of ours; they go to the dead topic with this reason."""


class TaskDead(QuorateError):
    """The awaited task failed for good, or was cancelled; the text is its last error."""


class WaitTimeout(QuorateError):
    """The deadline passed before the task was executed; it is still stored and will run."""
