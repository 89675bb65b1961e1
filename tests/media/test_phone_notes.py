"""A note for the gateways is like those that phones record, and as loud as its peak allows, whatever it is made of."""

import math
import random
import struct
import time
import wave
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import pytest
from prefect_whatsapp.media import VoiceSettings, inspect_audio, make_voice_note, read_ogg
from prefect_whatsapp.media.loudness import AIM_LUFS, PEAK_DBTP, Loudness, measure_loudness
from prefect_whatsapp.media.ogg import OpusStream, read_opus, write_opus
from prefect_whatsapp.media.opus_packets import merge_frames
from prefect_whatsapp.models import Audio
from pydantic import ValidationError

PHONE = VoiceSettings.as_phones_record()


def write_wav(path: Path, rate: int, samples: list[int] | bytes) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples if isinstance(samples, bytes) else struct.pack(f"<{len(samples)}h", *samples))
    return path


def generated(seed: int) -> tuple[int, list[int]]:
    """A sample rate and a signal: silence, tones, noise, bursts with pauses, or something driven into clipping."""
    dice = random.Random(seed)
    rate = dice.choice([8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
    count = int(rate * dice.choice([0.07, 0.2, 0.45, 0.7, 1.0, 1.01, 1.3, 2.1]))
    level = dice.choice([30, 300, 3_000, 12_000, 30_000, 90_000])
    kind = ("silence", "tone", "noise", "bursts", "clipped")[seed % 5]
    pitch = dice.uniform(90, 900)

    def sample(place: int) -> float:
        at = place / rate
        if kind == "silence":
            return 0.0
        if kind == "noise":
            return dice.uniform(-level, level)
        tone = level * math.sin(2 * math.pi * pitch * at) * (0.6 + 0.4 * math.sin(2 * math.pi * 3 * at))
        if kind == "bursts":
            return tone if int(at * 5) % 2 else 0.0
        return tone * (20 if kind == "clipped" else 1)

    return rate, [max(-32_768, min(32_767, int(sample(place)))) for place in range(count)]


def decoded(stream: OpusStream) -> bytes:
    """What libopus makes of the packets; ffmpeg's own decoder fills its filters differently for each packet."""
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout, decoder.extradata = 48_000, "mono", stream.head
    assert decoder.name == "libopus"
    sound = bytearray()
    for packet in (*map(av.Packet, stream.packets), None):
        for frame in decoder.decode(packet):
            sound += bytes(frame.planes[0])[: frame.samples * frame.format.bytes]
    return bytes(sound)


def split(packets: tuple[bytes, ...]) -> Iterator[bytes]:
    """Take packets of code 3 with variable lengths apart again, by the RFC's words and not by the code under test."""
    for packet in packets:
        assert packet[0] & 3 == 3
        assert packet[1] & 0xC0 == 0x80
        count, at, lengths = packet[1] & 63, 2, []
        for _ in range(count - 1):
            length, at = packet[at], at + 1
            if length >= 252:
                length, at = length + 4 * packet[at], at + 1
            lengths.append(length)
        lengths.append(len(packet) - at - sum(lengths))
        for length in lengths:
            yield bytes([packet[0] & ~3]) + packet[at : at + length]
            at += length


def loudness_of(path: Path) -> Loudness:
    return measure_loudness(path, source="it", deadline=time.monotonic() + 60, limit=60)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("inputs", [20, pytest.param(200, marks=[pytest.mark.ci, pytest.mark.slow])])
def test_many_inputs_become_notes_like_those_that_phones_record(tmp_path: Path, inputs: int) -> None:
    packets = code_3 = levelled = 0
    for seed in range(inputs):
        rate, samples = generated(seed)
        given = inspect_audio(write_wav(tmp_path / "in.wav", rate, samples), source="in.wav")
        note = make_voice_note(given, directory=tmp_path / "notes", settings=PHONE)
        with note.path.open("rb") as file:
            walked = read_ogg(file)
        with note.path.open("rb") as file:
            stream = read_opus(file)
        assert (walked.problems, walked.vendor, walked.comments) == ((), "WhatsApp", ())
        assert walked.head
        assert (walked.head.sample_rate, walked.head.channels) == (16_000, 1)
        assert note.voice_ready
        assert note.duration == pytest.approx(len(samples) / rate, abs=0.002)
        packets += len(stream.packets)
        code_3 += sum(packet[0] & 3 == 3 and packet[0] >> 3 in (9, 23) for packet in stream.packets)
        for packet, following in pairwise(stream.packets):  # a packet states one configuration for all its frames
            assert packet[1] & 63 == 3 or packet[0] != following[0]
        sound = decoded(stream)
        assert sound == decoded(replace(stream, packets=tuple(split(stream.packets))))
        if seed % 5 in (1, 3) and len(samples) / rate >= 0.7:
            before, after = loudness_of(given.path), loudness_of(write_wav(tmp_path / "out.wav", 48_000, sound))
            if before.integrated > -49 and AIM_LUFS - before.integrated <= PEAK_DBTP - before.true_peak:
                assert after.integrated == pytest.approx(AIM_LUFS, abs=1.0)
                levelled += 1
    assert code_3 >= 0.99 * packets
    assert levelled >= inputs / 20


def test_merged_frames_can_be_taken_apart_again_whatever_their_lengths() -> None:
    dice = random.Random(1)
    frames = [b"\x48" + dice.randbytes(dice.choice([0, 1, 40, 251, 252, 253, 255, 256, 600, 1275])) for _ in range(500)]
    merged = tuple(merge_frames(frames))
    assert len(merged) == 167
    assert list(split(merged)) == frames


def test_frames_of_different_configurations_never_share_a_packet() -> None:
    merged = list(merge_frames([b"\x48a", b"\x48b", b"\x50c", b"\x48d", b"\x48e", b"\x48f", b"\x48g", b"\x4bXY"]))
    assert [packet[:2].hex() for packet in merged] == ["4b82", "5381", "4b83", "4b81", "4b58"]


def test_a_stream_is_written_in_pages_that_hold_a_second_and_any_packet_length() -> None:
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 16_000, 0, 0)
    packets = tuple(b"\x4b\x83" + bytes(length) for length in (0, 253, 508, 2_000, 4_000) * 40)
    written = write_opus(OpusStream(head, packets, 200 * 2880 - 100, 7), vendor="WhatsApp")
    walked = read_ogg(BytesIO(written))
    assert (walked.problems, walked.packets, walked.ended) == ((), 200, True)
    assert walked.duration == pytest.approx((200 * 2880 - 100 - 312) / 48_000)
    again = read_opus(BytesIO(written))
    assert (again.packets, again.granule, again.serial) == (packets, 200 * 2880 - 100, 7)


def note_of(samples: Path, name: str, tmp_path: Path, **settings: object) -> Audio:
    given = inspect_audio(samples / name, source=name)
    return make_voice_note(given, directory=tmp_path, settings=VoiceSettings.as_phones_record(**settings))


def test_a_good_note_of_another_form_is_made_anew_and_a_phones_own_is_not(samples: Path, tmp_path: Path) -> None:
    note = note_of(samples, "speech_voice.ogg", tmp_path)
    assert note.transcoded
    again = inspect_audio(note.path, source="note.ogg")
    assert make_voice_note(again, directory=tmp_path / "none", settings=PHONE) is again


def test_speech_is_brought_towards_the_aim_and_left_alone_on_request(samples: Path, tmp_path: Path) -> None:
    given = loudness_of(samples / "speech_ru.m4a")
    for aim, gain in ((AIM_LUFS, given.gain()), (-30.0, given.gain(-30.0)), (None, 0.0)):
        with note_of(samples, "speech_ru.m4a", tmp_path, loudness=aim).path.open("rb") as file:
            heard = loudness_of(write_wav(tmp_path / "out.wav", 48_000, decoded(read_opus(file))))
        assert heard.integrated == pytest.approx(given.integrated + gain, abs=1.0)
    assert given.gain(-30.0) < -1


@pytest.mark.parametrize(
    ("measured", "gain"),
    [
        (Loudness(-22.0, -9.0), 6.0),
        (Loudness(-22.0, -3.0), 2.0),
        (Loudness(-10.0, -0.2), -6.0),
        (Loudness(-16.0, -4.0), 0.0),
        (Loudness(-70.0, -80.0), 0.0),
        (Loudness(float("-inf"), float("-inf")), 0.0),
    ],
)
def test_one_gain_goes_towards_the_aim_and_never_over_the_peak(measured: Loudness, gain: float) -> None:
    assert measured.gain() == gain


def test_no_gain_leaves_the_bytes_as_they_would_be_without_levelling(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "silence.wav", 16_000, [0] * 16_000)
    given = inspect_audio(path, source="silence.wav")
    notes = [
        make_voice_note(given, directory=tmp_path / str(aim), settings=VoiceSettings(loudness=aim))
        for aim in (-16.0, None)
    ]
    assert notes[0].sha256 == notes[1].sha256


def test_what_does_not_change_the_sound_is_no_part_of_what_a_broadcast_is_bound_to() -> None:
    assert VoiceSettings(time_limit_seconds=9, max_bytes=9_000).sound() == VoiceSettings().sound() == "{}"
    assert VoiceSettings(loudness=None).sound() != VoiceSettings().sound()
    assert PHONE.sound() != VoiceSettings().sound()


def test_three_frames_a_packet_need_frames_of_twenty_milliseconds() -> None:
    with pytest.raises(ValidationError, match="frames_per_packet 3 needs frames of 20 ms, not 60"):
        VoiceSettings.as_phones_record(frame_duration=60)
