"""Prefect's own standards for a block, and what its form needs."""

from typing import Any

from prefect.blocks.core import Block
from prefect.blocks.webhook import Webhook
from prefect.filesystems import LocalFileSystem
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.utilities.dispatch import get_registry_for_type
from prefect_whatsapp import blocks

PACKAGE = f"{blocks.__name__}."


class TestEveryBlock(BlockStandardTestSuite):
    """Prefect's suite on each of the five; `block` is the fixture of the folder."""

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """Without the suite's download: the tests stay on this machine. It is one that Prefect shows for a block of its own."""
        assert str(block._logo_url) in {str(Webhook._logo_url), str(LocalFileSystem._logo_url)}


def test_every_field_has_a_default_and_a_title(block: type[Any]) -> None:
    """So that the form opens, and a block saved by an older version still loads."""
    for name, field in block.model_fields.items():
        assert not field.is_required(), f"{name} has no default"
        assert field.title, f"{name} has no title"
    block()


def test_the_slug_and_the_name_are_the_packs_own(block: type[Any]) -> None:
    assert block._block_type_slug.startswith("whatsapp-")
    assert block._block_type_name.startswith("WhatsApp ")


def test_the_form_masks_every_secret(block: type[Any]) -> None:
    secrets = {name for name, field in block.model_fields.items() if "Secret" in str(field.annotation)}
    assert secrets
    assert set(block.model_json_schema()["secret_fields"]) == secrets


def test_prefects_server_offers_the_blocks_and_none_of_the_classes_below_them() -> None:
    """At its start it offers whatever stands in this registry."""
    offered = {
        kind.__name__ for kind in (get_registry_for_type(Block) or {}).values() if kind.__module__.startswith(PACKAGE)
    }
    assert offered == set(blocks.__all__)


def test_each_class_is_exported_and_has_a_name_of_its_own() -> None:
    slugs = [getattr(blocks, name)._block_type_slug for name in blocks.__all__]
    assert len(set(slugs)) == len(blocks.__all__) == 6
