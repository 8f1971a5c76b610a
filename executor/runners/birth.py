"""What a runner process is born with. The zygote makes it from the node's request, the runner reads it."""

from __future__ import annotations

from dataclasses import dataclass

from executor.errors import FrameError
from executor.task import Form

LONG_NICE = 10
RUNNER_FDS = 3  # data, control, slots: they travel beside the request, in this order


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """`data_fd`, `control_fd`: sockets to the node. `slots_fd`: the shared table. `slots`: how many tasks may run in it at once."""

    number: int
    form: Form
    is_long: bool
    slots: int
    modules: tuple[str, ...]
    data_fd: int
    control_fd: int
    slots_fd: int


def fork_request(
    number: int, form: Form, *, is_long: bool, slots: int, modules: tuple[str, ...]
) -> list[object]:
    """What the node asks of the zygote; the three descriptors go with it."""
    return ["fork", number, form.value, is_long, slots, list(modules)]


def read_request(request: object, fds: list[int]) -> Birth:
    """Raises FrameError for a request that makes no sense."""
    match request:
        case ["fork", int(number), str(form), bool(is_long), int(slots), list(modules)] if len(
            fds
        ) == RUNNER_FDS and form in list(Form):
            return Birth(
                number=number,
                form=Form(form),
                is_long=is_long,
                slots=slots,
                modules=tuple(str(module) for module in modules),
                data_fd=fds[0],
                control_fd=fds[1],
                slots_fd=fds[2],
            )
    raise FrameError(f"the zygote was asked for something it does not know: {request!r} with {len(fds)} fds")
