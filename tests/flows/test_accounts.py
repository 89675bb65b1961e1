"""A broadcast keeps to the account that began it: its server, and the number that is logged in there."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models.errors import BroadcastMismatchError
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox, SandboxSettings
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


async def test_another_phone_that_logged_in_to_the_session_does_not_go_on_with_a_broadcast(
    broadcast_arguments: Arguments,
) -> None:
    port = free_port()
    with RunningSandbox(port=port) as one:
        arguments = broadcast_arguments(4, sender=sender_of("waha", one.url))
        assert (await broadcast_audio(**arguments, max_messages=2)).pending == 2
    with RunningSandbox(SandboxSettings(display_phone_number="+16505550123"), port=port) as other:
        with pytest.raises(BroadcastMismatchError, match=r"…0100.*…0123"):
            await broadcast_audio(**arguments)
        assert not other.messages()
    with RunningSandbox(port=port) as one:
        assert (await broadcast_audio(**arguments)).accepted == 4
        assert len(one.messages()) == 2


async def test_a_session_of_the_same_name_on_another_server_does_not_go_on_with_a_broadcast(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(4, sender=sender_of("waha", sandbox.url))
    assert (await broadcast_audio(**arguments, max_messages=2)).pending == 2
    with RunningSandbox() as other:
        with pytest.raises(BroadcastMismatchError, match="give this one another name"):
            await broadcast_audio(**{**arguments, "sender": sender_of("waha", other.url)})
        assert not other.messages()
