"""One attempt of a task in a process of its own, which a test can stop or kill at every named point.

`python actor.py HANDLER KEY ATTEMPT [PLACE ..]`. At a point it says ["at", point] and waits for ["go"]; at its end it says ["over", what
was raised or ""].
"""

from __future__ import annotations

import json
import os
import smtplib
import sqlite3
import sys
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

from executor import Context, checks


def say(*line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def stop(point: str) -> None:
    say("at", point)
    sys.stdin.readline()


def sqlite(context: Context, path: str) -> None:
    in_a_transaction(context, checks.sql(lambda: sqlite3.connect(path, timeout=20)))


def postgres(context: Context, dsn: str) -> None:
    import psycopg

    in_a_transaction(context, checks.sql(lambda: psycopg.connect(dsn)))


def in_a_transaction(context: Context, check: checks.sql) -> None:
    stop("began")
    with check.transaction(context) as connection:
        connection.execute(f"INSERT INTO effects VALUES ({context.key}, {context.attempt})")
        stop("marked")
    stop("committed")


def write_file(context: Context, path: str) -> None:
    check = checks.file(path)
    stop("began")
    with check.open(context) as file:
        file.write(f"whole, by attempt {context.attempt}".encode())
        file.flush()
        stop("written")
    stop("named")


def once(context: Context, path: str, effects: str) -> None:
    check = checks.file(path)
    stop("began")
    with check.once(context):
        stop("begun")
        with Path(effects).open("a") as file:
            file.write(f"{context.key}\n")
        stop("effect")
    stop("ended")


def charge(context: Context, url: str) -> None:
    stop("began")
    check = checks.http(f"{url}/charges/{{idempotency_key}}")
    post(f"{url}/charges", {}, check.headers(context))
    stop("sent")


def sms(context: Context, url: str) -> None:
    stop("began")
    post(f"{url}/messages", {"to": "1", "text": "hello", "reference": f"shop-{context.key}"}, {})
    stop("sent")


def post(url: str, data: dict[str, str], headers: dict[str, str]) -> None:
    urllib.request.urlopen(
        urllib.request.Request(url, json.dumps(data).encode(), headers), timeout=10
    ).close()


def email(context: Context, smtp_port: str, address: str) -> None:
    stop("began")
    check = checks.email("imap.invalid", user="", password="", domain="shop.example.com")
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.com", address, "Your invoice"
    mail.set_content("hello")
    with smtplib.SMTP("127.0.0.1", int(smtp_port), timeout=10) as smtp:
        smtp.send_message(check.stamp(mail, context))
    stop("sent")


HANDLERS: dict[str, Callable[..., None]] = {
    each.__name__: each for each in (sqlite, postgres, write_file, once, charge, sms, email)
}

if __name__ == "__main__":
    name, key, attempt, *places = sys.argv[1:]
    over = ""
    try:
        HANDLERS[name](Context(key=int(key), attempt=int(attempt), handler=name), *places)
    except BaseException as error:
        over = f"{type(error).__name__}: {error}"
    say("over", over)
    sys.stdout.flush()
    os._exit(0)
