"""placeholder"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsContexts:
    server: ssl.SSLContext
    client: ssl.SSLContext


def tls_contexts(files: TlsFiles, node: str) -> TlsContexts:
    raise NotImplementedError


def tls_trouble(error: ssl.SSLError, who: str) -> str:
    raise NotImplementedError
