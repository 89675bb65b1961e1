"""The short form of the rounds with receipts: each service once (`make receipts-test`: all)."""

from pathlib import Path

import pytest
from kill_processes import Runner
from postgres import Postgres, find_binaries
from receipt_rounds import VARIANTS, ReceiptRig

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow]


def test_with_answers_lost_and_three_kills_all_that_was_accepted_is_known_within_a_minute(
    runner: Runner, tmp_path: Path, audio_samples: Path, request: pytest.FixtureRequest
) -> None:
    """Of what the service accepted nothing stays unknown, nobody is sent to twice, and rows are where the phones are."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if find_binaries() else None
    with ReceiptRig(tmp_path, runner, postgres, audio=audio_samples / "speech_voice.ogg", seed=20262) as rig:
        played = [*rig.play_all(4 * len(rig.databases), workers=2)]
    assert {each.provider for each in played} == {provider for provider, _ in VARIANTS}
    assert [(each.provider, each.database, what) for each in played for what in each.violations] == []
    assert sum(each.resolved for each in played) > 0
    assert sum(each.killed for each in played) > len(played)
