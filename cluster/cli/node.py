"""`quorate node`: one member of the cluster, in the foreground, until SIGTERM or SIGINT."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cluster.cli.outcome import EXIT_FAILED, EXIT_REFUSED, JsonOption, ending, one_sentence, print_json
from cluster.errors import QuorateError, SettingsError
from cluster.settings import NodeSettings, read_settings

LOOK_S = 0.2  # how soon a failed node is noticed; a signal is noticed at once
GRACE_S = 10.0
GC_THRESHOLD = (
    50_000,
    20,
    50,
)  # by default every 700 objects: an eighth of what a task costs, and nothing of a task is a cycle


def _read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the file's values the defaults, so that flags and the environment win."""
    if path is not None:
        with one_sentence():
            known = {
                one.name: one for one in context.command.params if one.name not in ("config", "json_output")
            }
            switches = {name for name, one in known.items() if name and getattr(one, "is_flag", False)}
            context.default_map = read_settings(path, {name for name in known if name}, switches)
    return path


def node(
    listen: Annotated[
        str, typer.Option(envvar="QUORATE_LISTEN", help="H:P of this member for the Raft group.")
    ],
    kafka: Annotated[str, typer.Option(envvar="QUORATE_KAFKA", help="H:P[,H:P] of the Kafka brokers.")],
    handlers: Annotated[
        str, typer.Option(envvar="QUORATE_HANDLERS", help="Modules that declare handlers: M[,M].")
    ],
    data_dir: Annotated[
        Path, typer.Option(envvar="QUORATE_DATA_DIR", help="Journal and snapshots of this member.")
    ],
    peers: Annotated[
        str, typer.Option(envvar="QUORATE_PEERS", help="H:P,H:P of the members; empty: a group of one.")
    ] = "",
    api: Annotated[
        str | None,
        typer.Option(
            envvar="QUORATE_NODE_API", help="H:P for applications; default: the port after --listen."
        ),
    ] = None,
    prefix: Annotated[
        str, typer.Option(envvar="QUORATE_PREFIX", help="First part of the topics' names.")
    ] = "quorate",
    name: Annotated[
        str | None, typer.Option(envvar="QUORATE_NAME", help="For people; default: --listen.")
    ] = None,
    acks: Annotated[
        str, typer.Option(envvar="QUORATE_ACKS", help="When a submit counts as stored: 1 or all.")
    ] = "1",
    workers: Annotated[
        int | None,
        typer.Option(
            envvar="QUORATE_WORKERS",
            help="Processes that may run long tasks at once; one more is for short ones. Default: one a core, two at least.",
            show_default=False,
        ),
    ] = None,
    max_backlog_s: Annotated[
        float,
        typer.Option(
            "--max-backlog-s",
            envvar="QUORATE_MAX_BACKLOG_S",
            help="Refuse submits to a lane that has so many seconds of work waiting.",
        ),
    ] = 86_400.0,
    join: Annotated[
        bool,
        typer.Option(
            "--join", envvar="QUORATE_JOIN", help="Join the group of --peers: see `quorate member add`."
        ),
    ] = False,
    sync: Annotated[
        str,
        typer.Option(
            envvar="QUORATE_SYNC",
            help="always: marks are on disk before they count. interval: faster; the last 0.2 s of marks may be lost with the power.",
        ),
    ] = "always",
    tls_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="QUORATE_TLS_DIR", help="Certificates of this member, as `quorate certs` makes them."
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", envvar="QUORATE_INSECURE", help="Members speak without TLS beyond this machine."
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            callback=_read_config, is_eager=True, help="TOML file of these settings; flags and QUORATE_* win."
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run one node until SIGTERM."""
    with one_sentence():
        settings = NodeSettings(
            listen=listen,
            kafka=kafka,
            handlers=_listed(handlers),
            data_dir=data_dir,
            api=api or _next_port(listen),
            name=name or listen.replace(":", "-"),
            peers=_listed(peers),
            prefix=prefix,
            acks=acks,
            workers=workers,
            max_backlog_s=max_backlog_s,
            join=join,
            sync=sync,
            tls_dir=tls_dir,
            insecure=insecure,
        ).checked()
        _run(settings, json_output=json_output)


def _run(settings: NodeSettings, *, json_output: bool) -> None:
    from cluster.node import (
        Node,
    )  # here: the other commands start faster without Kafka's and Raft's libraries
    from cluster.rpc.server import ApiServer
    from consensus import CertificateError, ConsensusError, Refused

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        running = Node(settings)
    except ConsensusError as error:
        raise ending(str(error), EXIT_FAILED) from None
    server = ApiServer(running, settings.api)
    try:
        running.start()
        server.start()
        gc.collect()
        gc.freeze()  # what the imports left would cost 20 ms at each full collection, in the middle of heartbeats
        gc.set_threshold(*GC_THRESHOLD)
        ready = {"name": settings.name, "pid": os.getpid(), "peer": settings.listen, "api": settings.api}
        if json_output:
            print_json(ready)
        else:
            typer.echo(
                f"node {settings.name} serves {settings.api}, member {settings.listen}, pid {os.getpid()}"
            )
        while not stop.wait(LOOK_S) and not running.failed.is_set():
            pass
    except (CertificateError, Refused) as error:
        raise ending(str(error), EXIT_REFUSED) from None
    except ConsensusError as error:
        raise ending(str(error), EXIT_FAILED) from None
    except QuorateError:
        raise
    except (
        Exception
    ) as error:  # a handler module, the broker, the disk: said in one sentence, traced in the log
        logging.getLogger(__name__).debug("node_did_not_start", exc_info=True)
        raise ending(f"node {settings.name} did not start: {error}", EXIT_FAILED) from None
    finally:
        server.stop(1.0)
        running.stop(GRACE_S)
    if running.failed.is_set():
        raise ending(f"node {settings.name} failed: {running.failure}", EXIT_FAILED)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _next_port(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise SettingsError(f"--listen has {listen!r}: expected host:port")
    return f"{host}:{int(port) + 1}"
