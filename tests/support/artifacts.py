"""The artifacts of a broadcast, as Prefect's server keeps them."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact
from prefect.client.schemas.sorting import ArtifactSort


async def artifacts(broadcast: str, what: str) -> list[Artifact]:
    """A broadcast's artifacts of a kind, the newest first.

    They are asked for by their key: without a filter the server answers with some 200 of all that it has.
    """
    key = ArtifactFilterKey(any_=[f"whatsapp-{broadcast}-{what}"])
    async with get_client() as client:
        return await client.read_artifacts(artifact_filter=ArtifactFilter(key=key), sort=ArtifactSort.CREATED_DESC)
