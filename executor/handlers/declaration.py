"""What a handler says about itself. The node knows handlers only by these values, told by its workers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from executor.errors import HandlerError
from executor.handlers.guarantee import (
    CHECK_OF,
    CheckTerms,
    Guarantee,
    check_name,
    parse_guarantee,
    require_check,
    require_check_timeout,
)
from executor.retries import Retry
from executor.task import Lane, Resource

NAME_CHARS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One declared handler. `lane` None means: measured. `timeout_s` None means: no limit.

    `isolate`: always alone in a process, so that it can surely be killed. `max_running`: how many of it may run at once on one node.
    `recycle_after`: a process is replaced after so many tasks of it, for handlers that leak. `retry` None: one attempt.
    `guarantee` None: the cluster's default. `check` None: it has none.
    """

    name: str
    lane: Lane | None = None
    guarantee: Guarantee | None = None
    timeout_s: float | None = None
    version: str = "1"
    is_async: bool = False
    isolate: bool = False
    max_running: int | None = None
    recycle_after: int | None = None
    retry: Retry | None = Retry()  # noqa: RUF009 - frozen: one default for all
    check: CheckTerms | None = None

    def __post_init__(self) -> None:
        if not self.name or len(self.name.removeprefix(CHECK_OF)) > NAME_CHARS_MAX:
            raise HandlerError(f"handler name {self.name!r}: give it 1 to {NAME_CHARS_MAX} characters")
        require_check(self.name, self.guarantee, has_check=self.check is not None)
        if self.check is not None:
            require_check_timeout(self.name, self.check.timeout_s)
        if self.timeout_s is not None and not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise HandlerError(f"handler {self.name!r}: timeout_s is {self.timeout_s}; give seconds above 0")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise HandlerError(
                f"handler {self.name!r}: retry is {self.retry!r}; give a Retry, or None for one attempt"
            )
        for option, count in (("max_running", self.max_running), ("recycle_after", self.recycle_after)):
            if count is not None and (type(count) is not int or count < 1):
                raise HandlerError(
                    f"handler {self.name!r}: {option} is {count!r}; give a whole number from 1"
                )

    def promises(
        self, *, default: Guarantee = Guarantee.AT_LEAST_ONCE, wanted: Guarantee | None = None
    ) -> Guarantee:
        """What holds for a task of it: `default` is the cluster's, `wanted` what its submit said. Raises HandlerError if that cannot be."""
        own = self.guarantee or default
        if wanted is not None and wanted is not own and own is not Guarantee.AT_LEAST_ONCE:
            raise HandlerError(
                f"handler {self.name!r} is {own}, so a task of it cannot be {wanted}; only tasks of at-least-once handlers may ask for "
                "another guarantee"
            )
        promised = wanted or own
        if promised is Guarantee.EXACTLY_ONCE:
            require_check(self.name, promised, has_check=self.check is not None)
        return promised

    def check_handler(self) -> Handler | None:
        """Its check, as the handler that the executor takes it for: like it, but for what follows from the check itself."""
        if self.check is None:
            return None
        waits = self.lane is not None and self.lane.resource is Resource.IO
        return replace(
            self,
            name=check_name(self.name),
            lane=Lane.IO_SHORT if waits else None,
            guarantee=None,
            timeout_s=self.check.timeout_s,
            is_async=self.check.is_async,
            retry=None,
            check=None,
        )

    def to_fields(self) -> list[object]:
        """As plain values, for the hello of a worker."""
        lane = None if self.lane is None else self.lane.value
        return [
            self.name,
            lane,
            None if self.guarantee is None else self.guarantee.value,
            self.timeout_s,
            self.version,
            self.is_async,
            self.isolate,
            self.max_running,
            self.recycle_after,
            None if self.retry is None else self.retry.to_fields(),
            None if self.check is None else self.check.to_fields(),
        ]

    @staticmethod
    def from_fields(fields: list[object]) -> Handler:
        """From a hello; raises HandlerError when the values make no declaration."""
        match fields:
            case [
                str(name),
                str() | None as lane,
                str() | None as guarantee,
                float() | int() | None as timeout_s,
                str(version),
                bool(is_async),
                bool(isolate),
                int() | None as max_running,
                int() | None as recycle_after,
                list() | None as retry,
                list() | None as check,
            ]:
                return Handler(
                    name=name,
                    lane=None if lane is None else parse_lane(name, lane),
                    guarantee=parse_guarantee(name, guarantee),
                    timeout_s=timeout_s,
                    version=version,
                    is_async=is_async,
                    isolate=isolate,
                    max_running=max_running,
                    recycle_after=recycle_after,
                    retry=None if retry is None else Retry.from_fields(retry),
                    check=None if check is None else CheckTerms.from_fields(check),
                )
        raise HandlerError(f"a worker declared a handler that makes no sense: {fields!r}")


def parse_lane(name: str, lane: str) -> Lane:
    """The lane of this text; raises HandlerError that lists the lanes."""
    try:
        return Lane(lane)
    except ValueError:
        lanes = ", ".join(each.value for each in Lane)
        raise HandlerError(f"handler {name!r}: unknown lane {lane!r}; use one of {lanes}") from None
