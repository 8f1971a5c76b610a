"""`quorate labels`: the lane that was learnt for each handler and kind, by whom and from what."""

from __future__ import annotations

from dataclasses import asdict

from rich.table import Table

from cluster.cli.outcome import (
    ApiOption,
    DirOption,
    JsonOption,
    client_for,
    one_sentence,
    print_json,
    print_table,
    seconds,
)


def labels(api: ApiOption = None, directory: DirOption = None, json_output: JsonOption = False) -> None:
    """Show what the cluster knows of its handlers' work."""
    with one_sentence(), client_for(api, directory) as client:
        rows = client.labels()
    if json_output:
        print_json([asdict(row) for row in rows])
        return
    table = Table(caption="* the lane where tasks are stored")
    for title in ("handler", "kind", "lane", "node", "mean", "p95", "cpu", "samples"):
        table.add_column(title, no_wrap=True)
    table.add_column("why")
    for row in rows:
        table.add_row(
            row.handler,
            row.kind,
            f"{row.lane} *" if row.routes else row.lane,
            row.node,
            seconds(row.mean_s),
            seconds(row.p95_s),
            seconds(row.cpu_s),
            str(row.samples),
            row.why,
        )
    print_table(table)
