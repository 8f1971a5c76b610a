"""An invoice by mail; whether it left is seen in a mailbox that gets a copy of everything.

$SMTP_HOST, $IMAP_HOST, $MAIL_USER and $MAIL_PASSWORD say where; the check talks TLS unless $IMAP_SECURITY says otherwise.
"""

import os
import smtplib
from email.message import EmailMessage

from executor import Context, checks, handler

ARCHIVE = os.environ.get("MAIL_ARCHIVE", "archive@example.com")

invoiced = checks.email(
    os.environ.get("IMAP_HOST", "imap.example.com"),
    port=int(os.environ.get("IMAP_PORT", "993")),
    security=os.environ.get("IMAP_SECURITY", "tls"),
    user=os.environ.get("MAIL_USER", ARCHIVE),
    password=lambda: os.environ.get("MAIL_PASSWORD", ""),
    domain="shop.example.com",
    settle_s=300,
)


@handler
def send_invoice(to: str, text: str, context: Context) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Bcc"], mail["Subject"] = "shop@example.com", to, ARCHIVE, "Your invoice"
    mail.set_content(text)
    invoiced.stamp(mail, context)
    host, port = os.environ.get("SMTP_HOST", "smtp.example.com"), int(os.environ.get("SMTP_PORT", "25"))
    with context.io("smtp"), smtplib.SMTP(host, port, timeout=20) as smtp:
        smtp.send_message(mail)
