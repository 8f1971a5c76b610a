"""Errors of the executor. Each text says what happened, to what, and what to do next."""

from __future__ import annotations


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


class TimeLimitExceeded(BaseException):
    """Raised inside a handler that runs longer than its `timeout_s`. No `except Exception` swallows it; clean up and let it pass."""


class TaskCancelled(BaseException):
    """Raised inside a handler whose task was cancelled. No `except Exception` swallows it; clean up and let it pass."""


class AlreadyMarked(BaseException):
    """Raised inside a handler by its check: another attempt of this task has begun or done its effect.

    No `except Exception` swallows it; let it pass, so that what this attempt has done so far is rolled back.
    """
