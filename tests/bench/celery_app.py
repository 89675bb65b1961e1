"""The Celery application of the benchmark: one task that does one POST, on a Redis of the benchmark's own."""

import os
import threading

import httpx
from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
# As its users tune it: nobody reads the results, so none are kept.
app.conf.update(
    task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True
)
_local = threading.local()


@app.task
def send(sandbox: str, media: str, to: str) -> None:
    """Send one voice note."""
    client = getattr(_local, "client", None)
    if client is None:
        client = _local.client = httpx.Client(trust_env=False, headers={"Authorization": "Bearer sandbox-token"})
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to,
        "type": "audio",
        "audio": {"id": media, "voice": True},
    }
    client.post(f"{sandbox}/graph/v26.0/100000000000001/messages", json=body).raise_for_status()
