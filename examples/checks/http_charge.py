"""A charge at a payment service that knows idempotency keys: $PAYMENTS_URL, $PAYMENTS_TOKEN."""

import json
import os
import urllib.request

from executor import Context, checks, handler

URL = os.environ.get("PAYMENTS_URL", "https://payments.example.com")


def credentials() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ.get('PAYMENTS_TOKEN', '')}"}


charged = checks.http(f"{URL}/charges/{{idempotency_key}}", headers=credentials)


@handler
def charge(customer: str, cents: int, context: Context) -> None:
    """No matter how often this is sent: the service charges once for each key."""
    request = urllib.request.Request(
        f"{URL}/charges",
        data=json.dumps({"customer": customer, "cents": cents}).encode(),
        headers={"Content-Type": "application/json", **credentials(), **charged.headers(context)},
    )
    with context.io("payments"), urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
