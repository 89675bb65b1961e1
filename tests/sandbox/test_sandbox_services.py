"""What the dialects send, the sandbox takes: each service, each kind, both drivers; and its faults are read rightly."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.models import Contact, Receipt, Recipient
from prefect_whatsapp.models.errors import (
    AccountError,
    OutcomeUnknownError,
    RecipientRefusedError,
    RetryLaterError,
)
from prefect_whatsapp.providers.chat_api import ChatApi
from prefect_whatsapp.providers.dialect import Attachment, Dialect
from prefect_whatsapp.providers.waha import Waha
from prefect_whatsapp.providers.wawp import Wawp
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from sandbox_server import CHAT_API_INSTANCE, TOKEN, WAWP_INSTANCE, Run, threaded

Attach = Callable[[Dialect], Attachment]
PHONE = Recipient(to="+16505550123")
CARD = Contact(name="Ada Byron", phone="+442079460000", organisation="Analytical Engines")


async def test_a_voice_note_is_accepted_once(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, attach: Attach
) -> None:
    receipt: Receipt = await run(dialect, dialect.send_audio(attach(dialect), PHONE))
    truth = simulator.truth()
    assert truth["accepted"] == {"16505550123": 1}
    assert (truth["sends"], truth["duplicates"], truth["refused"]) == (1, {}, {})
    assert truth["uploads"] == (1 if dialect.name == "graph" else 0)
    assert truth["services"][dialect.name]["accepted"] == 1
    (message,) = simulator.messages()
    assert (message["kind"], message["voice"], message["message_id"]) == ("audio", True, receipt.message_id)
    assert receipt.status == "accepted"


async def test_contact_cards_are_accepted(dialect: Dialect, simulator: ThreadedSandbox, run: Run) -> None:
    cards = [CARD] if dialect.name == "chat-api" else [CARD, Contact(name="Grace Hopper", phone="+12125550142")]
    await run(dialect, dialect.send_contacts(cards, PHONE))
    (message,) = simulator.messages(recipient="16505550123")
    assert (message["kind"], message["cards"]) == ("contacts", len(cards))


async def test_the_account_is_ready(dialect: Dialect, simulator: ThreadedSandbox, run: Run) -> None:
    status = await run(dialect, dialect.check())
    assert status.ready
    assert simulator.truth()["checks"] == 1
    assert simulator.truth()["sends"] == 0


async def test_the_quoted_message_arrives(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, attach: Attach
) -> None:
    quoted = "false_16505550123@c.us_DF38E6A25B42CC8CCE57EC40F"
    await run(dialect, dialect.send_audio(attach(dialect), Recipient(to=PHONE.to, reply_to=quoted)))
    assert simulator.messages()[0]["reply_to"] == quoted


async def test_groups_keep_their_id(simulator: ThreadedSandbox, run: Run, dialect: Dialect, attach: Attach) -> None:
    group = Recipient(to="Y2FwaV9ncm91cDo3NTA2" if dialect.name == "graph" else "120363000000001234@g.us")
    await run(dialect, dialect.send_audio(attach(dialect), group))
    assert simulator.truth()["accepted"] == {group.to: 1}


@pytest.mark.parametrize("kind", ["expired_token", "session_down"])
async def test_an_account_that_cannot_send_says_so_before_the_first_send(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, kind: str
) -> None:
    simulator.faults(kind=kind)
    try:
        ready = (await run(dialect, dialect.check())).ready
    except AccountError:
        ready = False
    assert not ready
    assert simulator.truth()["accepted_total"] == 0


@pytest.mark.parametrize("kind", ["expired_token", "session_down"])
async def test_a_send_by_an_account_that_cannot_send(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, kind: str
) -> None:
    simulator.faults(kind=kind)
    if dialect.name == "chat-api" and kind == "session_down":  # it holds the message, and says so
        receipt: Receipt = await run(dialect, dialect.send_contacts([CARD], PHONE))
        assert receipt.status == "queued"
        assert simulator.truth()["accepted_total"] == 1
        return
    with pytest.raises(AccountError):
        await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert simulator.truth()["accepted_total"] == 0


@pytest.mark.parametrize("how", ["reset", "closed", "partial"])
@pytest.mark.parametrize("accepted", [True, False])
async def test_a_dropped_connection_leaves_the_outcome_unknown(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, how: str, accepted: bool
) -> None:
    simulator.faults(kind="drop", accepted=accepted, how=how)
    with pytest.raises(OutcomeUnknownError):
        await run(dialect, dialect.send_contacts([CARD], PHONE))
    truth = simulator.truth()
    assert truth["accepted_total"] == truth["unanswered_total"] == int(accepted)
    assert truth["refused_total"] == int(not accepted)


@pytest.mark.parametrize("fault", [{"kind": "html"}, {"kind": "html", "status": 502}, {"kind": "malformed"}])
async def test_an_unreadable_answer_after_acceptance_is_unknown(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, fault: dict[str, Any]
) -> None:
    simulator.faults(accepted=True, **fault)
    with pytest.raises(OutcomeUnknownError):
        await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert simulator.truth()["unanswered"] == {"16505550123": 1}


async def test_a_throttle_is_for_later_and_says_when(dialect: Dialect, simulator: ThreadedSandbox, run: Run) -> None:
    simulator.faults(kind="throttle", retry_after=7, times=1)
    with pytest.raises(RetryLaterError) as later:
        await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert later.value.retry_after == 7
    assert later.value.kind == "throttle"
    await run(dialect, dialect.send_contacts([CARD], PHONE))
    truth = simulator.truth()
    assert (truth["accepted_total"], truth["refused_total"]) == (1, 1)
    assert sum(second["throttled"] for second in truth["by_second"]) == 1


async def test_latency_is_waited_out(dialect: Dialect, simulator: ThreadedSandbox, run: Run) -> None:
    simulator.faults(kind="latency", seconds=0.2)
    await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert simulator.truth()["now"] >= 0.2


@pytest.mark.parametrize("name", ["chat-api", "wawp"])
async def test_sent_false_at_200_is_no_success(name: str, simulator: ThreadedSandbox, run: Run) -> None:
    dialect: Dialect = Wawp(instance_id=WAWP_INSTANCE, access_token=TOKEN, base_url=simulator.wawp_url)
    if name == "chat-api":
        dialect = ChatApi(instance_id=CHAT_API_INSTANCE, token=TOKEN, base_url=simulator.chat_api_url)
    simulator.faults(kind="sent_false")
    with pytest.raises(RecipientRefusedError):
        await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert simulator.truth()["accepted_total"] == 0


async def test_a_wrong_credential_or_account_is_refused(simulator: ThreadedSandbox, run: Run) -> None:
    wrong: list[Dialect] = [
        ChatApi(instance_id=CHAT_API_INSTANCE, token="wrong-token", base_url=simulator.chat_api_url),
        Wawp(instance_id=WAWP_INSTANCE, access_token="wrong-token", base_url=simulator.wawp_url),
        Wawp(instance_id="another", access_token=TOKEN, base_url=simulator.wawp_url),
        Waha(api_key="wrong-token", base_url=simulator.waha_url),
        Waha(api_key=TOKEN, base_url=simulator.waha_url, session="another"),
    ]
    for dialect in wrong:
        with pytest.raises(AccountError) as refused:
            await run(dialect, dialect.send_contacts([CARD], PHONE))
        assert "wrong-token" not in str(refused.value)
    assert simulator.truth()["accepted_total"] == 0


async def test_wawp_answers_in_each_recorded_shape_and_every_id_is_found(simulator: ThreadedSandbox, run: Run) -> None:
    wawp = Wawp(instance_id=WAWP_INSTANCE, access_token=TOKEN, base_url=simulator.wawp_url)
    receipts: list[Receipt] = [await run(wawp, wawp.send_contacts([CARD], PHONE)) for _ in range(5)]
    assert [r.message_id for r in receipts] == [m["message_id"] for m in simulator.messages()]
    assert len({r.message_id for r in receipts}) == 5


async def test_wawps_smart_queue_is_a_queue(simulator: ThreadedSandbox, run: Run) -> None:
    simulator.faults(kind="queued")
    wawp = Wawp(instance_id=WAWP_INSTANCE, access_token=TOKEN, base_url=simulator.wawp_url)
    assert (await run(wawp, wawp.send_contacts([CARD], PHONE))).status == "queued"
    assert simulator.truth()["accepted_total"] == 1


async def test_wahas_ids_on_webjs_are_objects(run: Run) -> None:
    with threaded(waha_engine="WEBJS") as simulator:
        waha = Waha(api_key=TOKEN, base_url=simulator.waha_url)
        receipt = await run(waha, waha.send_contacts([CARD], PHONE))
        assert isinstance(receipt.raw["id"], dict)
        assert receipt.message_id == simulator.messages()[0]["message_id"]


async def test_wahas_463_stops_the_account(simulator: ThreadedSandbox, run: Run) -> None:
    simulator.faults(kind="reputation")
    waha = Waha(api_key=TOKEN, base_url=simulator.waha_url)
    with pytest.raises(AccountError):
        await run(waha, waha.send_contacts([CARD], PHONE))


async def test_wahas_number_check(simulator: ThreadedSandbox, run: Run) -> None:
    waha = Waha(api_key=TOKEN, base_url=simulator.waha_url)
    assert (await run(waha, waha.check_number(PHONE))).exists
    assert not (await run(waha, waha.check_number(Recipient(to="+16505550199")))).exists


async def test_chat_api_holds_messages_in_a_queue_that_can_be_read(
    simulator: ThreadedSandbox, run: Run, attach: Attach
) -> None:
    chat_api = ChatApi(instance_id=CHAT_API_INSTANCE, token=TOKEN, base_url=simulator.chat_api_url)
    assert (await run(chat_api, chat_api.queue())).total == 0
    simulator.faults(kind="session_down")
    await run(chat_api, chat_api.send_audio(attach(chat_api), PHONE))
    queue = await run(chat_api, chat_api.queue())
    assert queue.total == 1
    assert queue.first[0].type == "ptt"
    simulator.behave()
    assert (await run(chat_api, chat_api.queue())).total == 0


async def test_chat_apis_other_paths_and_forms(simulator: ThreadedSandbox, run: Run, attach: Attach) -> None:
    onemsg = ChatApi(
        instance_id=CHAT_API_INSTANCE,
        token=TOKEN,
        base_url=simulator.chat_api_url,
        path_template="/{instance_id}/{method}",
        voice_method="sendFile",
        contact_form="contacts",
    )
    await run(onemsg, onemsg.send_audio(attach(onemsg), PHONE))
    await run(onemsg, onemsg.send_contacts([CARD, CARD], PHONE))
    voice, cards = simulator.messages()
    assert voice["voice"]
    assert cards["cards"] == 2


@pytest.mark.parametrize("kind", ["pair", "window", "media_disowned"])
async def test_a_fault_that_only_graph_knows_leaves_the_gateways_alone(
    dialect: Dialect, simulator: ThreadedSandbox, run: Run, kind: str
) -> None:
    if dialect.name == "graph":
        simulator.faults(kind=kind, service="waha")
    simulator.faults(kind=kind, recipients=[] if dialect.name != "graph" else ["+16505550199"])
    await run(dialect, dialect.send_contacts([CARD], PHONE))
    assert simulator.truth()["accepted_total"] == 1
