"""A small real HTTP service, as a process: `python service.py LOG` prints ["port", n].

Every effect is a line in LOG, on the disk before the answer. /charges knows idempotency keys and charges once for each; /messages sends
each message that it gets. Under /sick it answers badly in every way.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

TOKEN = "Bearer t0p-s3cret-token"
_lock = threading.Lock()
_charges: dict[str, str] = {}
_messages: list[dict[str, str]] = []


def effect(line: str) -> None:
    with Path(sys.argv[1]).open("a") as log:
        log.write(line + "\n")
        log.flush()
        os.fsync(log.fileno())


class Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with _lock:
            if self.path == "/charges":
                key = self.headers["Idempotency-Key"]
                if key not in _charges:
                    effect(f"charge {key}")
                    _charges[key] = body.decode()
            else:
                message = {**json.loads(body), "state": "sent"}
                effect(f"message {message['reference']}")
                _messages.append(message)
        self.answer(201, b"{}")

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        last = parts.path.rpartition("/")[2]
        with _lock:
            known = last in _charges
        match parts.path.split("/")[1:-1]:
            case ["charges"]:
                self.answer(200 if known else 404, b"{}")
            case ["private"]:
                self.answer(200 if self.headers["Authorization"] == TOKEN else 401, b"{}")
            case ["status"]:
                self.answer(200, b'{"state": "done"}' if known else b'{"state": "pending"}')
            case []:
                reference = parse_qs(parts.query)["reference"][0]
                with _lock:
                    found = [each for each in _messages if each["reference"] == reference]
                self.answer(200, json.dumps(found).encode())
            case ["sick"]:
                self.be_sick(last)

    def be_sick(self, how: str) -> None:
        match how:
            case "silent":
                self.rfile.read(1)  # until the other side hangs up
            case "dripping":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                for _ in range(600):  # a byte now and then: no time limit of a single read ever strikes
                    self.wfile.write(b".")
                    time.sleep(0.05)
            case "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
                self.close_connection = True
            case "gone":
                self.close_connection = True
            case "nonsense":
                self.wfile.write(b"hello, I am no HTTP\r\n\r\n")
                self.close_connection = True
            case "moved":
                self.send_response(302)
                self.send_header("Location", "/status/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "huge":
                self.answer(200, b"x" * 1_500_000)
            case number:
                self.answer(int(number), b"")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers hang up on purpose here."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Service)
    print(json.dumps(["port", server.server_address[1]]), flush=True)
    server.serve_forever()
