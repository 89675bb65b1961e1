"""The limits of what is fetched, decoded and sent, each said here and nowhere else.

Source: https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types
"""

from ..models.audio import MAX_AUDIO_MESSAGE_BYTES

MAX_AUDIO_BYTES = 256_000_000  # of a fetched file: two hours of 16 kHz stereo WAV, or any compressed recording
MAX_LIST_BYTES = 512_000_000  # of a recipient list: some ten million rows
SPOOL_BYTES = 8_000_000  # of a stream that has to be read twice: kept in memory up to here, in a file beyond
VOICE_MAX_BYTES = MAX_AUDIO_MESSAGE_BYTES
PLAY_BUTTON_BYTES = 512_000  # Meta says 512 KB; whether it counts 512,000 or 524,288 is not stated
ADVISED_VOICE_SECONDS = 120.0
# What fits into 16 MB at 16 kbit/s. Decoded to samples it is 768 MB at 48 kHz, which a disk is asked for once.
LONGEST_SECONDS = 8_000
