"""A short message through a provider without idempotency keys, but with a list of what it sent: $SMS_URL. The check is a function.

The provider sends each request that it gets; so the check only observes, and nobody asks it before `settle_s` have passed.
"""

import json
import os
import urllib.parse
import urllib.request

from executor import Context, checks, handler

URL = os.environ.get("SMS_URL", "https://sms.example.com")


def was_sent(to: str, text: str, context: Context) -> bool | None:
    """Has the parameters of the handler. True: done, False: not done, None: unknown; an exception is unknown too."""
    query = urllib.parse.urlencode({"reference": f"shop-{context.key}"})
    with urllib.request.urlopen(f"{URL}/messages?{query}", timeout=10) as answer:
        states = {message["state"] for message in json.load(answer)}
    if "sent" in states:
        return True
    return None if states else False  # accepted, but not sent yet


sent = checks.callback(
    was_sent, settle_s=60
)  # or by name: checks.callback("examples.checks.sms_callback:was_sent")


@handler
def send_sms(to: str, text: str, context: Context) -> None:
    request = urllib.request.Request(
        f"{URL}/messages",
        data=json.dumps({"to": to, "text": text, "reference": f"shop-{context.key}"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with context.io("sms"), urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()
