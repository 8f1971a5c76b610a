"""Errors of the executor. Each text says what happened, to what, and what to do next."""

from __future__ import annotations

import math


class ExecutorError(Exception):
    """Root of every error raised by this package."""


class PayloadError(ExecutorError):
    """A value cannot be encoded, is too large, or received bytes cannot be decoded."""


class HandlerError(ExecutorError):
    """A handler declaration is wrong, or two handlers share a name."""


class HandlerLoadError(HandlerError):
    """A handler module could not be loaded by a worker process."""


class FrameError(ExecutorError):
    """Bytes between node and worker break the framing; the worker is ended."""


class ExecutorFull(ExecutorError):
    """More tasks were offered than the executor holds at most; ask `room()` first."""


class ExecutorStopped(ExecutorError):
    """The executor is not running: not started yet, or stopped."""


class TaskFailed(ExecutorError):
    """A submitted function raised; the text is "Type: message" of what it raised, `traceback` tells where."""

    traceback: str | None = None


class TaskTimedOut(TaskFailed):
    """A submitted function ran longer than it may."""


class TaskDied(TaskFailed):
    """The process in which a submitted function ran came to its end: a crash, a kill, no memory."""


class RetryLater(ExecutorError):
    """Raise it in a handler to be run again in `after_s` seconds, not before. It counts as an attempt, with no jitter.

    For what says itself when to come back: `raise RetryLater(float(response.headers["Retry-After"]))`.
    """

    def __init__(self, after_s: float, why: str = "") -> None:
        if isinstance(after_s, bool) or not isinstance(after_s, int | float) or not 0 <= after_s < math.inf:
            raise ValueError(f"RetryLater: after_s is {after_s!r}; give seconds from 0")
        super().__init__(why or f"again in {after_s:g} s")
        self.after_s = float(after_s)


class TimeLimitExceeded(BaseException):
    """Raised inside a handler that runs longer than its `timeout_s`. No `except Exception` swallows it; clean up and let it pass."""


class TaskCancelled(BaseException):
    """Raised inside a handler whose task was cancelled. No `except Exception` swallows it; clean up and let it pass."""


class AlreadyMarked(BaseException):
    """Raised inside a handler by its check: another attempt of this task has begun or done its effect.

    No `except Exception` swallows it; let it pass, so that what this attempt has done so far is rolled back.
    """
