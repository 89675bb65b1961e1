"""What Graph says of the sending number and of media that was uploaded to it, in both drivers."""

from typing import Any

import httpx
import pytest
from graph_answers import GRAPH, NOTE, NUMBER_ID, VOICE, Run, error_answer, running
from prefect_whatsapp.models.errors import RetryLaterError
from prefect_whatsapp.providers.graph import MediaInfo
from prefect_whatsapp.providers.transport import Client


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Run:
    """Run an exchange against one answer."""
    return running(request.param, caplog)


async def test_an_upload_gives_the_media_id(run: Run) -> None:
    assert (
        await run(GRAPH.upload(NOTE, b"OggS"), httpx.Response(200, json={"id": "1013859600285441"})) == VOICE.media_id
    )


@pytest.mark.parametrize("answer", [httpx.Response(502, html="<html>"), httpx.Response(200, json={})])
async def test_an_upload_whose_answer_is_lost_may_be_repeated(run: Run, answer: httpx.Response) -> None:
    with pytest.raises(RetryLaterError):
        await run(GRAPH.upload(NOTE, b"OggS"), answer)


async def test_media_is_looked_up_and_deleted(run: Run) -> None:
    answer = {"id": "55", "mime_type": "audio/ogg", "sha256": "ab", "file_size": "303833", "url": "https://lookaside/x"}
    info: MediaInfo = await run(GRAPH.media_info("55"), httpx.Response(200, json=answer))
    assert (info.id, info.mime_type, info.sha256, info.size) == ("55", "audio/ogg", "ab", 303833)
    assert "lookaside" not in repr(info)
    assert await run(GRAPH.delete_media("55"), httpx.Response(200, json={"success": True})) is True


@pytest.mark.parametrize(("level", "rate"), [("STANDARD", 80.0), ("HIGH", 1000.0), ("NOT_APPLICABLE", None)])
async def test_the_check_reads_the_number_and_its_throughput(run: Run, level: str, rate: float | None) -> None:
    answer = {
        "id": NUMBER_ID,
        "display_phone_number": "+1 650-555-0111",
        "verified_name": "Lucky Shrub",
        "quality_rating": "GREEN",
        "throughput": {"level": level},
    }
    status = await run(GRAPH.check(), httpx.Response(200, json=answer))
    assert (status.ready, status.state, status.messages_per_second) == (True, "GREEN", rate)
    assert status.detail == "Lucky Shrub …0111"


@pytest.mark.parametrize(
    ("more", "ready", "state", "detail"),
    [
        ({"status": "CONNECTED"}, True, "GREEN", "Lucky Shrub"),
        ({"status": "FLAGGED", "health_status": {"can_send_message": "LIMITED"}}, True, "GREEN", "Lucky Shrub"),
        ({"status": "BANNED"}, False, "BANNED", "banned"),
        ({"status": "PENDING"}, False, "PENDING", "registration"),
        ({"status": "DISCONNECTED"}, False, "DISCONNECTED", "register it again"),
        (
            {
                "status": "CONNECTED",
                "health_status": {
                    "can_send_message": "BLOCKED",
                    "entities": [
                        {
                            "entity_type": "PHONE_NUMBER",
                            "can_send_message": "BLOCKED",
                            "errors": [
                                {
                                    "error_code": 141000,
                                    "error_description": "The phone number is not registered.",
                                    "possible_solution": "Register the phone number.",
                                }
                            ],
                        }
                    ],
                },
            },
            False,
            "BLOCKED",
            "Register the phone number",
        ),
        ({"health_status": {"can_send_message": "BLOCKED"}}, False, "BLOCKED", "WhatsApp Manager"),
        ({"health_status": "odd"}, True, "GREEN", "Lucky Shrub"),
    ],
)
async def test_a_number_that_can_not_send_is_not_ready(
    run: Run, more: dict[str, Any], ready: bool, state: str, detail: str
) -> None:
    answer = {"id": NUMBER_ID, "verified_name": "Lucky Shrub", "quality_rating": "GREEN"} | more
    status = await run(GRAPH.check(), httpx.Response(200, json=answer))
    assert (status.ready, status.state) == (ready, state)
    assert detail in status.detail


@pytest.mark.parametrize("code", [100, 10, 200])
def test_a_field_that_is_withheld_does_not_stop_the_check(code: int) -> None:
    asked: list[str] = []

    def handle(sent: httpx.Request) -> httpx.Response:
        asked.append(sent.url.params["fields"])
        if "health_status" in asked[-1]:
            return error_answer(code, message="(#100) Tried accessing nonexisting field (health_status)")
        return httpx.Response(200, json={"id": NUMBER_ID, "quality_rating": "GREEN"})

    with Client(GRAPH, transport=httpx.MockTransport(handle)) as client:
        assert client.run(GRAPH.check()).ready
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        ("TIER_250", "250 people in 24 hours"),
        ("TIER_2K", "2,000 people in 24 hours"),
        ("TIER_100K", "100,000 people in 24 hours"),
        ("TIER_UNLIMITED", "unlimited"),
        ("TIER_NOT_SET", ""),
        (None, ""),
    ],
)
async def test_the_portfolio_s_messaging_limit_is_told(run: Run, tier: str | None, limit: str) -> None:
    answer = {"id": NUMBER_ID, "whatsapp_business_manager_messaging_limit": tier}
    assert (await run(GRAPH.check(), httpx.Response(200, json=answer))).messaging_limit == limit
