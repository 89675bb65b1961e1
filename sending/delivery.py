"""One send, from top to bottom: admit → claim → request → decide → settle → wait.

The claim is durable before the request leaves, the outcome after the answer; whatever happens between leaves a claim
without an outcome, which the ledger names `unknown`. What an answer means is `policy`'s to say.
"""

import asyncio
import datetime
from dataclasses import dataclass, replace

from ..ledger import Lease, Outcome, Row
from ..models import Recipient, SendState, StopReason
from ..models.errors import ClaimLostError, ErrorKind, OptedOutError, WhatsAppError
from ..providers.transport import AsyncClient
from .admission import Admission
from .content import Build, Message
from .policy import LONGEST_WAIT_SECONDS, NO_TROUBLE, Decision, Scope, Tries, accept, decide
from .stop import StopSignal

_TOO_FAST = frozenset({ErrorKind.THROTTLE, ErrorKind.BARE_THROTTLE})
_NOT_LEFT = Decision(Outcome(SendState.QUEUED), retry_in=0.0, scope=Scope.SENDER)


@dataclass
class Tally:
    """What this run did; the ledger has the last word on the broadcast."""

    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0

    @property
    def settled(self) -> int:
        """Rows that got an outcome in this run."""
        return self.accepted + self.failed + self.skipped + self.unknown

    def count(self, state: SendState) -> None:
        """Add one outcome."""
        match state:
            case SendState.ACCEPTED:
                self.accepted += 1
            case SendState.FAILED:
                self.failed += 1
            case SendState.SKIPPED:
                self.skipped += 1
            case SendState.UNKNOWN:
                self.unknown += 1


class Delivery:
    """Sends one message to one row's recipient after another.

    Args:
        lease: This run's hold on the ledger's rows.
        client: The account's open client.
        message: What is sent to everyone.
        admission: What a send waits for.
        stop: Set where an answer stops the broadcast.

    Attributes:
        tally: What this run did so far.
    """

    def __init__(
        self, lease: Lease, client: AsyncClient, message: Message, *, admission: Admission, stop: StopSignal
    ) -> None:
        self.tally = Tally()
        self._lease, self._client, self._message = lease, client, message
        self._admission, self._stop = admission, stop
        self._streak, self._accepted = NO_TROUBLE, 0
        self._gives_ids = True

    async def send(self, row: Row, task_run_id: str = "") -> Outcome:
        """Send one row's message and record what became of it.

        Args:
            row: A row that `Admission.row` let in.
            task_run_id: The task run that the ledger names beside it.

        Returns:
            What was recorded; `queued` where it is left pending.

        Raises:
            LedgerError: The ledger can't be written; the row is `unknown` if its request had left.
        """
        to = Recipient.stored(row.recipient, name=row.name, reply_to=row.reply_to)
        failures = _Failures(renewable=self._message.renewable)
        outcome = Outcome(SendState.QUEUED)
        # Reserved by an earlier try whose fate isn't known: the same id again is the same message to whoever has it already.
        own_id = row.message_id if self._message.reserve else ""
        try:
            while await self._admission.turn():
                build = self._message.build
                own_id = own_id or await self._reserve_id()
                async with self._admission.claims:
                    if self._admission.held_back:
                        continue
                    await self._lease.claim(row, task_run_id=task_run_id, message_id=own_id)
                    row = replace(row, attempts=row.attempts + 1)  # as the claim counted it
                    decision = await self._request(row, build, to, failures, own_id)
                await self._lease.settle(row, decision.outcome)
                outcome = decision.outcome
                if outcome.state is not SendState.QUEUED or decision.retry_in is None:
                    break
                if decision.renew_media:
                    await self._renew(build)
                elif decision.scope is Scope.RECIPIENT:
                    await self._admission.wait_alone(row, decision.retry_in)
        except OptedOutError as refused:  # settled by the claim itself
            outcome = Outcome(SendState.SKIPPED, error_text=refused.message, error_kind=refused.kind)
        except ClaimLostError:
            outcome = Outcome(SendState.QUEUED)  # another run's to send now
        self.tally.count(outcome.state)
        return outcome

    async def _request(self, row: Row, build: Build, to: Recipient, failures: "_Failures", own_id: str) -> Decision:
        """Let a claimed row's request leave, unless meanwhile it must not, and decide on its answer."""
        left_at: float | None = None
        try:
            if not await self._admission.room_for_request():
                return _NOT_LEFT
            try:
                if (left_at := await self._admission.departure()) is None:
                    return _NOT_LEFT
                try:
                    callback = row.callback if self._message.reserve is None else own_id
                    decision = accept(await self._client.run(build(to, callback=callback)))
                except WhatsAppError as error:
                    tries = failures.before(error.kind, self._accepted, refuses_many=self._streak.refuses_many)
                    decision = decide(error, tries)
                self._heed(decision, left_at)
                return decision
            finally:
                self._admission.requests.release()
        except asyncio.CancelledError:
            if left_at is None:
                self._lease.unclaim(row)
            raise

    async def _reserve_id(self) -> str:
        """The id that the message will have; empty where the service chooses it, or gives none now."""
        if self._message.reserve is None or not self._gives_ids:
            return ""
        try:
            own_id = await self._client.run(self._message.reserve())
        except WhatsAppError:  # the send itself finds out what is wrong
            return ""
        self._gives_ids = bool(own_id)
        return own_id

    def _heed(self, decision: Decision, left_at: float) -> None:
        """Let an answer bear on all that follow: the pace, the requests in flight, whether to go on at all."""
        now, outcome = self._admission.pace.now(), decision.outcome
        if outcome.state is SendState.ACCEPTED:
            self._accepted += 1
            self._admission.accepted(now - left_at)
        elif outcome.error_kind in _TOO_FAST and outcome.state is SendState.QUEUED:
            wait = decision.retry_in if decision.scope is Scope.SENDER else None
            self._admission.pace.throttled(wait or None, left_at)
        elif decision.scope is Scope.SENDER and decision.retry_in:
            self._admission.pace.pause(decision.retry_in)
        self._streak = self._streak.after(outcome, sent_at=left_at, now=now)
        self._admission.follow(self._streak, answered=outcome.state is not SendState.QUEUED)
        if decision.stop:
            self._stop.set(decision.stop, outcome.error_text + _until(decision))
        elif self._streak.stop:
            self._stop.set(self._streak.stop, outcome.error_text + self._since(now))

    def _since(self, now: float) -> str:
        streak = self._streak
        if streak.stop is StopReason.THROTTLED:
            return f"; nothing was accepted for {LONGEST_WAIT_SECONDS / 60:.0f} minutes"
        if streak.stop is StopReason.OUTAGE and streak.loses_too_many:
            return "; more than a tenth of the answers were lost, so nobody knows whether those messages were accepted"
        if streak.stop is StopReason.OUTAGE:
            return f"; nothing was accepted for {now - streak.since:.0f} s, in {streak.probes} consecutive tries"
        return ""

    async def _renew(self, used: Build) -> None:
        try:
            await self._message.renew(used)
        except WhatsAppError as failure:
            self._stop.set(StopReason.REQUEST, f"the media could not be uploaded again: {failure.message}")


class _Failures:
    """One row's failures in this run, by their kind."""

    def __init__(self, *, renewable: bool) -> None:
        # Media that can't be uploaded once more is as if it had been already.
        self._by_kind = {} if renewable else {ErrorKind.MEDIA_ID: (Tries(failures=1), 0)}

    def before(self, kind: ErrorKind, accepted: int, *, refuses_many: bool) -> Tries:
        """Give what came before this failure, and count it; `accepted` is how many messages were, in this run."""
        tries, accepted_then = self._by_kind.get(kind, (Tries(), accepted))
        tries = Tries(tries.failures, tries.accepting + (accepted > accepted_then), refuses_many)
        self._by_kind[kind] = Tries(tries.failures + 1, tries.accepting), accepted
        return tries


def _until(decision: Decision) -> str:
    if decision.stop is not StopReason.THROTTLED or not decision.retry_in:
        return ""
    try:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=decision.retry_in)
    except OverflowError:
        return "; it accepts nothing any more"
    return f"; it accepts nothing before {until:%H:%M UTC on %d %b %Y}: run again then"
