"""How a command ends and how it speaks: one sentence on stderr, one exit code per reaction.

1: it ran and failed (a dead task, a failed node). 2: the request is wrong. 3: not now, try again later.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cluster.client import KEYS_BLOCK, Client
from cluster.cluster_file import api_addresses
from cluster.errors import Exhausted, QuorateError, Refused, SettingsError, Unavailable, WaitTimeout

WIDTH = 140  # columns, when the output goes to a file or another program
EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_UNAVAILABLE = 3

ApiOption = Annotated[
    str | None, typer.Option("--api", metavar="H:P,..", help="API addresses of nodes; default $QUORATE_API.")
]
DirOption = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory of a cluster started by `quorate up`, instead of --api."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.0, help="Give up after.")]


@contextmanager
def one_sentence() -> Generator[None, None, None]:
    """Ends the command with our errors' text and exit code; what is not ours keeps its traceback: it is a
    bug.
    """
    try:
        yield
    except (Exhausted, Unavailable, WaitTimeout) as error:
        raise ending(str(error), EXIT_UNAVAILABLE) from None
    except (Refused, SettingsError) as error:
        raise ending(str(error), EXIT_REFUSED) from None
    except QuorateError as error:
        raise ending(str(error), EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise ending("stopped by you", EXIT_FAILED) from None


def ending(sentence: str, code: int) -> typer.Exit:
    """To be raised: says the sentence on stderr first."""
    first_line = next(
        iter(sentence.strip().splitlines()), ""
    )  # a dead task's error goes on with its traceback
    typer.echo(f"quorate: {first_line}", err=True)
    return typer.Exit(code)


def client_for(api: str | None, directory: Path | None, *, keys_block: int = KEYS_BLOCK) -> Client:
    """--api, else --dir, else $QUORATE_API. Raises `SettingsError` when there is none."""
    if api and directory:
        raise SettingsError("--api and --dir were both given: use one")
    addresses = api or (api_addresses(directory) if directory else os.environ.get("QUORATE_API", ""))
    if not addresses:
        raise SettingsError("which cluster? Give --api H:P[,H:P], --dir D, or set QUORATE_API")
    return Client(addresses, keys_block=keys_block)


def print_table(table: Table) -> None:
    """As wide as the terminal, or wide enough for a file or another program."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def seconds(value_s: float) -> str:
    """For people: 0.4 ms, 12 s, 3.5 h."""
    if value_s <= 0:
        return "0"
    for unit, size_s in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if value_s >= 2 * size_s or (unit in ("s", "ms") and value_s >= size_s):
            return f"{value_s / size_s:.3g} {unit}"
    return f"{value_s * 1e6:.3g} µs"


def moment(at_ms: int) -> str:
    """Local time of a wall clock in milliseconds."""
    return f"{datetime.fromtimestamp(at_ms / 1000):%Y-%m-%d %H:%M:%S}"


def print_json(value: Any) -> None:
    """One line; what JSON cannot express (dates, decimals) becomes text."""
    typer.echo(json.dumps(value, default=_as_text, ensure_ascii=False))


def _as_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
