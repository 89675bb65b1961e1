"""What a broadcast left behind: the ledger's word on each recipient beside the service's truth."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import SendState

_NUMBERS = ("planned", "accepted", "unknown", "failed", "skipped", "pending")


@dataclass(frozen=True)
class Aftermath:
    """Both words.

    Attributes:
        people: Who was to get it.
        states: Recipient to its state in the ledger.
        accepted: Recipient to how often the service accepted a message to it.
    """

    people: list[str]
    states: dict[str, str]
    accepted: dict[str, int]

    def in_state(self, state: SendState) -> set[str]:
        return {person for person, found in self.states.items() if found == state}

    @property
    def unknown(self) -> set[str]:
        return self.in_state(SendState.UNKNOWN)

    @property
    def twice(self) -> set[str]:
        return {person for person, count in self.accepted.items() if count > 1}

    @property
    def forgotten(self) -> set[str]:
        """Never accepted, and not named as unknown."""
        return {person for person in self.people if not self.accepted[person]} - self.unknown

    @property
    def answers_lost(self) -> set[str]:
        """Accepted by the service, and unknown."""
        return {person for person in self.unknown if self.accepted.get(person)}

    def broken(self, report: dict[str, Any] | None) -> list[str]:
        """Sentences on what is not as promised, after a run that came to its end.

        Args:
            report: What that run reported.
        """
        settled = self.in_state(SendState.ACCEPTED) | self.unknown
        wrong: list[tuple[str, set[str]]] = [
            ("accepted twice", self.twice),
            ("never sent and not unknown", self.forgotten),
            ("not in the ledger", set(self.people) - set(self.states)),
            ("in the ledger and not on the list", set(self.states) - set(self.people)),
            ("neither accepted nor unknown at the end", set(self.states) - settled),
            (
                "accepted in the ledger, not by the service",
                {person for person in self.in_state(SendState.ACCEPTED) if not self.accepted.get(person)},
            ),
        ]
        sentences = [f"{what}: {sorted(who)}" for what, who in wrong if who]
        counts = Counter(self.states.values())
        right = {name: counts[name] for name in _NUMBERS} | {"planned": len(self.people), "pending": 0}
        said = None if report is None else {name: report[name] for name in _NUMBERS}
        if said != right:
            sentences.append(f"the report says {said}, the ledger {right}")
        return sentences


async def aftermath(url: str, broadcast: str, people: list[str], accepted: dict[str, int]) -> Aftermath:
    """Read the ledger.

    Args:
        url: The ledger's.
        broadcast: Its name.
        people: Who was to get it.
        accepted: The truth's `accepted`.
    """
    async with LedgerStore.open(url) as store:
        record = await store.find_broadcast(broadcast)
        states = {} if record is None else {row.recipient: str(row.state) async for row in store.rows(record)}
    return Aftermath(people, states, {person: accepted.get(person.removeprefix("+"), 0) for person in people})
