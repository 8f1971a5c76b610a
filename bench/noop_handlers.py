"""The task that costs nothing: what is left is the price of running it."""

from executor import handler


@handler(lane="cpu-short")
def noop() -> None:
    return None
