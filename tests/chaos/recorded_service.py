"""A `KeyService` whose every call leaves a line before it goes and a line when it comes back: one door for all callers of a history.

Arguments and answers are plain JSON, as the history keeps them. A call whose outcome is unknown may be asked again under its id, which
is the promise of `KeyService.repeat`; to the history both are one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from consensus import KeyService, OutcomeUnknown, Refused
from tests.chaos.history import Recorder


class RecordedService:
    """Any thread. Raises what `KeyService` raises."""

    def __init__(self, service: KeyService, recorder: Recorder) -> None:
        self._service, self._recorder = service, recorder

    def call(
        self, operation: str, arguments: dict[str, Any], timeout_s: float, *, repeat: bool = False
    ) -> Any:
        """reserve {"count"}; claim, release, fail {"pairs"}; execute {"pairs"} or {"keys"}; is_executed {"keys"}, behind a barrier."""
        ask, read = self._door(operation, arguments, timeout_s)
        return self._recorder.call(
            operation, arguments, lambda: read(self._until_known(ask, timeout_s) if repeat else ask())
        )

    def _door(
        self, operation: str, arguments: dict[str, Any], timeout_s: float
    ) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
        """How it is asked, and how its answer is written down."""
        service = self._service
        pairs = [(key, number) for key, number in arguments.get("pairs", [])]
        keys = arguments.get("keys", [])
        match operation:
            case "reserve":
                count = arguments["count"]
                return lambda: service.reserve(count, timeout_s=timeout_s), lambda block: [
                    block.start,
                    block.stop,
                ]
            case "claim":
                return lambda: service.claim(pairs, timeout_s=timeout_s), lambda claims: [
                    [claim.kind.name.lower(), claim.attempt, claim.session] for claim in claims
                ]
            case "release":
                return lambda: service.release(pairs, timeout_s=timeout_s), list
            case "fail":
                return lambda: service.fail(pairs, timeout_s=timeout_s), list
            case "execute":
                return lambda: service.execute(pairs or keys, timeout_s=timeout_s), lambda answers: [
                    answer.value for answer in answers
                ]
            case "is_executed":
                return lambda: service.barrier(timeout_s=timeout_s), lambda _: service.executed(keys)
        raise ValueError(f"no call is named {operation!r}")

    def _until_known(self, ask: Callable[[], Any], timeout_s: float) -> Any:
        try:
            return ask()
        except OutcomeUnknown as unknown:
            if unknown.call_id is None:
                raise
            try:
                return self._service.repeat(unknown.call_id, timeout_s=timeout_s)
            except Refused as refused:  # the repeat was; what was asked first may still take effect
                raise OutcomeUnknown(f"not known after a repeat: {refused}") from refused
