"""What the server sends to webhook endpoints, as verifiers that nobody here wrote take it.

    python tests/clients/webhooks.py target/debug/limitry

A receiver verifies each delivery with the PyPI packages `limitry` 1.0.0rc7 and `standardwebhooks`:
a ping, an alert, and one that is signed by two secrets while these are rotated.
"""

import http.server
import pathlib
import queue
import sys
import tempfile
import threading

import httpx
import limitry
import standardwebhooks
from program import new_key, running

CONFIG = """
[webhooks]
allowHttp = true
allowPrivateAddresses = true

[[quotas]]
name = "Tokens"
metric = "total_tokens"
limitValue = 200
period = "month"
per = ["customer_id"]
alertThresholds = [50]
"""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes all, and hands on the headers and the body of each."""

    received = queue.Queue()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.received.put((dict(self.headers), body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def is_verified(headers, body, secret):
    """Whether both verifiers take it; they have to agree."""
    try:
        event = standardwebhooks.Webhook(secret).verify(body, headers)
    except standardwebhooks.WebhookVerificationError:
        event = None
    try:
        other = limitry.verify_webhook(body, headers, secret)
    except limitry.WebhookVerificationError:
        other = None
    assert event == other, (event, other)
    return event is not None


def test(client, first, hooks):
    def receive():
        return Receiver.received.get(timeout=30)

    made = client.post("/v1/workspace/webhook-endpoints", json={"url": hooks})
    assert made.status_code == 200, made.text
    endpoint, secret = made.json()["endpoint"]["id"], made.json()["secret"]
    path = f"/v1/workspace/webhook-endpoints/{endpoint}"

    client.post(f"{path}/test").raise_for_status()
    headers, body = receive()
    assert is_verified(headers, body, secret)
    assert limitry.verify_webhook(body, headers, secret)["type"] == "ping"
    assert not is_verified(headers, body + b" ", secret)
    assert not is_verified(headers, body, "whsec_" + 32 * "A")

    rotated = client.post(f"/engine/v1/webhook-endpoints/{endpoint}/rotate", json={})
    assert rotated.status_code == 200, rotated.text
    new = rotated.json()["secret"]
    event = {"customerId": "ann", "eventType": "call", "inputTokens": 150}
    tracked = client.post("/v1/track", json=event, headers=bearer(first))
    assert tracked.status_code == 201, tracked.text
    headers, body = receive()
    assert secret != new and is_verified(headers, body, secret) and is_verified(headers, body, new)
    event = limitry.verify_webhook(body, headers, new)
    assert event["id"].startswith("evt_") and event["data"], event


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    hooks = f"http://127.0.0.1:{receiver.server_port}/hooks"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (first, one), (third, three) = new_key(program, 1), new_key(program, 3)
        (folder / "keys.toml").write_text(one + "\n" + three)
        (folder / "limitry.toml").write_text(CONFIG)
        arguments = ["--config", folder / "limitry.toml", "--keys", folder / "keys.toml"]
        with running(program, *arguments) as url:
            test(httpx.Client(base_url=url, headers=bearer(third), timeout=30), first, hooks)
    print("webhooks: verified by limitry and standardwebhooks")


main()
