"""A report that is written once, and something else that is started at most once, in a folder that all nodes share: $SHOP_FOLDER."""

import os
import subprocess

from executor import Context, checks, handler

FOLDER = os.environ.get("SHOP_FOLDER", "/srv/shop/reports")

report = checks.file(f"{FOLDER}/report-{{key}}.csv")
printed = checks.file(f"{FOLDER}/printed-{{key}}")


@handler
def write_report(rows: list[list[str]], context: Context) -> None:
    with report.open(context) as file:  # appears under its name when it is whole
        for row in rows:
            file.write((";".join(row) + "\n").encode())


@handler
def print_label(command: list[str], context: Context) -> None:
    """A printer cannot be asked later, so a crash in the block is "unknown": an operator looks whether the paper came out."""
    with printed.once(context):
        subprocess.run(command, check=True, timeout=30)
