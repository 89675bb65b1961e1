"""The short form of the kill test: each way to die once, on the one database or the other (`make kill-test`: all)."""

from pathlib import Path

import pytest
from kill_processes import Runner
from kill_rounds import KINDS, Rig, doubts
from postgres import Postgres, find_binaries
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def rig(
    sandbox: RunningSandbox, runner: Runner, tmp_path: Path, audio_samples: Path, request: pytest.FixtureRequest
) -> Rig:
    """Where rounds are played, always with the same rng."""
    postgres: Postgres | None = request.getfixturevalue("postgres") if find_binaries() else None
    voice_note, source = audio_samples / "speech_voice.ogg", audio_samples / "speech_cover.mp3"
    return Rig(tmp_path, runner, sandbox, postgres, audio=voice_note, source=source, seed=20261)


def test_killed_anywhere_and_run_again_nobody_gets_it_twice_and_nobody_is_forgotten(rig: Rig) -> None:
    """Unknown is whose answer was lost, and nobody else; the report says so."""
    played = [*rig.play_all(len(KINDS), workers=4)]
    assert {each.kind for each in played} == {kind.name for kind in KINDS}
    assert [(each.kind, each.database, what) for each in played for what in each.violations] == []
    lives = {kind.name for kind in KINDS if not kind.kills or kind.at == "outage"}
    assert [each.kind for each in played if not each.killed and each.kind not in lives] == []
    assert sum(each.unknown for each in played) > 0
    assert sum(each.twice + each.forgotten for each in played) == 0


def test_a_run_that_sends_again_what_is_in_doubt_is_found_out(rig: Rig) -> None:
    """The comparison fails where the promise is broken."""
    heard = next(kind for kind in KINDS if kind.name == "answer: heard, not handed in")
    found = rig.play(heard, "sqlite", forget_doubts=True)
    assert found.twice > 0
    assert any("accepted twice" in what for what in found.violations)


def test_only_what_was_heard_is_certain() -> None:
    """A claim in doubt may be unknown, a claim that was heard must be, a settlement that was heard may not."""
    told = [
        ("claim?", "a"),
        ("claim?", "b"),
        ("claim!", "b"),
        ("claim?", "c"),
        ("claim!", "c"),
        ("settle?:accepted", "c"),
    ]
    assert doubts(told) == ({"b"}, {"a", "b", "c"})
    assert doubts([*told, ("settle!", "c")]) == ({"b"}, {"a", "b"})
    assert doubts([*told, ("settle!", "c"), ("settle?:unknown", "b"), ("settle!", "b")]) == ({"b"}, {"a", "b"})
