"""A process of its own that drains one broadcast at its sender's pace: `python pace_process.py LEDGER NAME SERVICE RATE`.

At the end it prints, as JSON, each message's reference and when it left, by the clock that all processes share.
"""

import asyncio
import json
import sys

from prefect_whatsapp.ledger import LedgerStore, Row
from prefect_whatsapp.models import Contact, Receipt, Recipient
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.sending.admission import Admission
from prefect_whatsapp.sending.content import Message
from prefect_whatsapp.sending.delivery import Delivery
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.stop import StopSignal
from senders import sender_of

IN_FLIGHT = 24
CARDS = [Contact(name="Support", phone="+16505550199")]


async def main(url: str, broadcast: str, service: str, rate: float) -> None:
    sender = sender_of("graph", service, messages_per_second=rate)
    dialect = sender.dialect()

    left_at: dict[str, float] = {}

    def build(to: Recipient, *, callback: str) -> Exchange[Receipt]:
        # Nothing is awaited between a departure and this.
        left_at[callback] = pace._departures._times[-1]
        return dialect.send_contacts(CARDS, to, callback=callback)

    async with LedgerStore.open(url, patience_seconds=30) as store, sender.get_async_client(connections=64) as client:
        record = await store.find_broadcast(broadcast)
        assert record is not None
        async with store.join(record, sender=dialect.sender, messages_per_second=rate) as lease:
            pace = Pace(lambda: lease.share)
            stop = StopSignal()
            async with Admission(lease, pace, stop, in_flight=IN_FLIGHT) as admission, asyncio.TaskGroup() as sends:
                delivery = Delivery(lease, client, Message(build), admission=admission, stop=stop)

                async def send(row: Row) -> None:
                    await delivery.send(row)
                    admission.leave(row)

                while row := await admission.row():
                    sends.create_task(send(row))
    print(json.dumps(left_at))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], float(sys.argv[4])))
