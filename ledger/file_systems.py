"""Which file systems keep a ledger: some are gone with the container, or at the next start of the machine."""

import os
from pathlib import Path

IN_MEMORY = frozenset({"tmpfs", "ramfs"})
# Gone with the container that they belong to.
_LAYERS = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})
_MOUNTS = Path("/proc/mounts")
# Docker; Podman and CRI-O. A file system alone proves nothing: a live system has its root in an overlay too.
_CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
# A pod; a task of Amazon ECS or Fargate; a service or a job of Cloud Run.
_CONTAINER_VARIABLES = (
    "KUBERNETES_SERVICE_HOST",
    "ECS_CONTAINER_METADATA_URI_V4",
    "ECS_CONTAINER_METADATA_URI",
    "K_SERVICE",
    "CLOUD_RUN_JOB",
)


def in_container() -> bool:
    """Whether this process surely is in a container."""
    return any(name in os.environ for name in _CONTAINER_VARIABLES) or any(path.exists() for path in _CONTAINER_FILES)


def read_mounts() -> str:
    """The mounts of this machine, as `/proc/mounts` has them; empty where it isn't Linux."""
    try:
        return _MOUNTS.read_text()
    except OSError:
        return ""


def is_forgotten(path: Path, mounts: str) -> bool:
    """Whether a file is on a file system that is gone with its container or with the next start.

    Args:
        path: The file.
        mounts: As `/proc/mounts` has them: device, folder, type, options, one a line.

    Example:
        >>> mounts = "overlay / overlay rw 0 0\\n/dev/sdb /data ext4 rw 0 0"
        >>> is_forgotten(Path("/opt/prefect/ledger.db"), mounts), is_forgotten(Path("/data/ledger.db"), mounts)
        (True, False)
    """
    return file_system(path, mounts) in IN_MEMORY | _LAYERS


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that a file is on, such as `ext4`; empty where no mount has it.

    Args:
        path: The file.
        mounts: As for `is_forgotten`.
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        folder = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(folder) and len(folder.parts) >= longest:  # of two mounts on one folder the later counts
            kind, longest = fields[2], len(folder.parts)
    return kind
