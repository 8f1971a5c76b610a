"""The child's side of a runner: a fresh process becomes one of the three forms and serves until the node lets it go.

The zygote calls `main` after its fork. Order: signals, streams and side thread first, so that whatever the user's modules do at import
is survived; then their handlers and start hooks; then hello. At the end: what was begun is finished and told, stop hooks run, and the
process ends.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import faulthandler
import inspect
import mmap
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, assert_never

from executor.errors import HandlerLoadError
from executor.handlers.functions import Functions
from executor.handlers.hooks import start_hooks, stop_hooks
from executor.handlers.loading import load, reason
from executor.handlers.registry import place, registered
from executor.runners.birth import Birth
from executor.runners.inside.calls import Calls, clean
from executor.runners.inside.copies import Origin
from executor.runners.inside.loop_form import LoopForm
from executor.runners.inside.output import Output
from executor.runners.inside.process_form import ProcessForm
from executor.runners.inside.side_thread import SideThread
from executor.runners.inside.threads_form import ThreadsForm
from executor.runners.slot import TABLE_BYTES, SlotTable
from executor.task import Form

PROTOCOL = 2
REFUSED_S = 1.0  # for the last words of a runner that cannot serve


def main(birth: Birth) -> int:
    """Serves one life of a runner; returns its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stay)
    faulthandler.enable()  # the last words of a process that C code brings down go to the real stderr
    data, control = socket.socket(fileno=birth.data_fd), socket.socket(fileno=birth.control_fd)
    for each in (data, control):
        each.set_inheritable(False)
        each.setblocking(True)
    table = SlotTable(mmap.mmap(birth.slots_fd, TABLE_BYTES))
    os.close(birth.slots_fd)
    side, output, functions = SideThread(control), Output(), Functions()
    output.install()
    try:
        calls = Calls(load(birth.modules), functions)
        form: ProcessForm | ThreadsForm | LoopForm
        match birth.form:
            case Form.PROCESS:
                form = ProcessForm(data, table, calls, functions, output, side.reports)
            case Form.THREADS:
                form = ThreadsForm(data, table, calls, functions, output, side, slots=birth.slots)
            case Form.LOOP:
                form = LoopForm(data, table, calls, functions, output, side, slots=birth.slots)
            case _:
                assert_never(birth.form)
        origin = Origin((data, control), form.forget)
        wait_for = form.wait_for if isinstance(form, LoopForm) else _wait_for
        _run_start_hooks(wait_for)
    except HandlerLoadError as error:
        side.post_last(["refused", clean(str(error))], REFUSED_S)
        return 1
    declared = [each.declaration.to_fields() for each in registered().values()]
    side.attach(form, ["hello", PROTOCOL, birth.form.value, declared])
    with contextlib.suppress(
        OSError
    ):  # the node is gone: the side thread ends the process, if we do not first
        form.serve(origin)
    _run_stop_hooks(wait_for)
    atexit._run_exitfuncs()
    return 0


def _wait_for(awaitable: Any) -> object:
    async def run() -> object:
        return await awaitable

    return asyncio.run(run())


def _run_start_hooks(wait_for: Callable[[Any], object]) -> None:
    for hook in start_hooks():
        try:
            result = hook()
            if inspect.isawaitable(result):
                wait_for(result)
        except BaseException as error:
            raise HandlerLoadError(f"start hook {place(hook)} failed: {reason(error)}") from error


def _run_stop_hooks(wait_for: Callable[[Any], object]) -> None:
    for hook in stop_hooks():
        try:
            result = hook()
            if inspect.isawaitable(result):
                wait_for(result)
        except BaseException:
            print(f"stop hook {place(hook)} failed:", file=sys.stderr)
            traceback.print_exc()


def _stay(number: int, frame: FrameType | None) -> None:
    """A signal to the whole group must not end a runner before the node's grace is over. A handler that does nothing, as programs that
    are started here would inherit an ignored signal."""
