"""Which file systems keep a ledger."""

from pathlib import Path

import pytest
from prefect_whatsapp.ledger.file_systems import is_forgotten

CONTAINER = "overlay / overlay rw 0 0\nproc /proc proc rw 0 0\n/dev/sdb /data ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n"


@pytest.mark.parametrize(
    ("path", "mounts", "forgotten"),
    [
        ("/opt/prefect/ledger.db", CONTAINER, True),
        ("/run/user/0/ledger.db", CONTAINER, True),
        ("/data/ledger.db", CONTAINER, False),
        ("/data/ledger.db", CONTAINER + "tmpfs /data tmpfs rw 0 0\n", True),
        ("/opt/ada/ledger.db", "/dev/sda1 / ext4 rw 0 0", False),
        ("/with space/ledger.db", CONTAINER + "/dev/sdc /with\\040space xfs rw 0 0", False),
        ("/opt/ada/ledger.db", "", False),
    ],
)
def test_a_folder_is_forgotten_by_its_file_system(path: str, mounts: str, forgotten: bool) -> None:
    assert is_forgotten(Path(path), mounts) is forgotten
