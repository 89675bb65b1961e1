"""A ledger that is thrown away with its container lets a rerun message everyone again: such a run sends nothing."""

import os
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.address import LEDGER_VARIABLE
from prefect_whatsapp.models.errors import InputError

# File systems that are gone with the container or at the next start of the machine.
_FORGETFUL = frozenset({"overlay", "aufs", "tmpfs", "ramfs", "fuse.fuse-overlayfs"})
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


async def refuse_ledger_that_is_thrown_away(store: LedgerStore) -> None:
    """Look at where the ledger is, where nobody said where it is to be.

    Args:
        store: The ledger, open.

    Raises:
        InputError: It is the embedded one, and this run of a deployment is in a container of its own, or the ledger's folder
            is one that the container (or, for a run of a deployment, the machine) forgets.
    """
    if not store.is_embedded:
        return
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    deployed = run is not None and run.deployment_id is not None
    pool = await _work_pool_type(run.work_pool_name) if run is not None and deployed else ""
    if pool not in ("", "process"):
        why = f"this run's work pool is of type {pool}, whose containers do not last"
    elif (deployed or _in_container()) and is_forgotten(Path(store.address), _mounts()):
        why = "that folder is inside a container, or in memory"
    else:
        return
    raise InputError(
        f"the ledger would be {store.address}, and {why}, so that a rerun would message everyone again: give the broadcast a "
        f"saved Ledger block with a PostgreSQL URL, or set {LEDGER_VARIABLE} to a PostgreSQL URL or to a file that outlives "
        "the container (if that one does, name it)"
    )


def _in_container() -> bool:
    """Whether this process surely is in a container."""
    return any(name in os.environ for name in _CONTAINER_VARIABLES) or any(path.exists() for path in _CONTAINER_FILES)


async def _work_pool_type(name: str | None) -> str:
    if not name:
        return ""
    async with get_client() as client:
        try:
            return (await client.read_work_pool(name)).type
        except ObjectNotFound:  # deleted since
            return ""


def _mounts() -> str:
    try:
        return _MOUNTS.read_text()
    except OSError:  # not Linux
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
    kind, longest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        folder = Path(fields[1].replace("\\040", " "))
        if path.is_relative_to(folder) and len(folder.parts) >= longest:  # of two mounts on one folder the later counts
            kind, longest = fields[2], len(folder.parts)
    return kind in _FORGETFUL
