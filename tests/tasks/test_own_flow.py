"""A flow of somebody's own, in a folder that has its own `tasks/` and `flows/`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_whatsapp.sandbox.server import RunningSandbox

FLOW = """\
from prefect import flow
from prefect_whatsapp.blocks import GraphCredentials
from prefect_whatsapp.tasks import prepare_voice, fetch_audio, send_audio, upload_media
from tasks.greeting import audio_of_today

@flow
def greet(to: str):
    sender = GraphCredentials.load("greeter")
    note = prepare_voice(fetch_audio(audio_of_today()))
    return send_audio(upload_media(note, sender), to, sender)
"""
RUN = """\
import sys
from prefect.flows import load_flow_from_entrypoint
from prefect_whatsapp.blocks import GraphCredentials
sys.path.insert(0, ".")
GraphCredentials(base_url=sys.argv[1], access_token="sandbox-token", phone_number_id="100000000000001").save("greeter")
receipt = load_flow_from_entrypoint("flows/greet.py:greet", use_placeholder_flow=False)("+16505550123")
import flows, tasks
print(receipt.status, flows.__file__, tasks.__file__)
"""


@pytest.mark.server
def test_it_imports_the_packs_tasks_and_sends_a_voice_note(
    tmp_path: Path, sandbox: RunningSandbox, prefect_api: str, audio_samples: Path
) -> None:
    assert len(FLOW.splitlines()) <= 10
    for folder in ("flows", "tasks"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "flows" / "greet.py").write_text(FLOW)
    song = audio_samples / "speech_cover.mp3"
    (tmp_path / "tasks" / "greeting.py").write_text(f"def audio_of_today():\n    return {str(song)!r}\n")
    (tmp_path / "run.py").write_text(RUN)
    done = subprocess.run(
        [sys.executable, "run.py", sandbox.graph_url],
        cwd=tmp_path,
        env=os.environ | {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    status, flows, tasks = done.stdout.split()[-3:]
    assert status == "accepted"
    assert Path(flows).parent == tmp_path / "flows"
    assert Path(tasks).parent == tmp_path / "tasks"
    (message,) = sandbox.messages()
    assert (message["kind"], message["voice"], message["recipient"]) == ("audio", True, "16505550123")
