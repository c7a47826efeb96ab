"""Networks. Their keys lie beside them: histogenesis/models/networks/keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Tag

from histogenesis.models.networks import keys
from histogenesis.recipe.base import by_kind, section_of

if TYPE_CHECKING:
    from histogenesis.models.networks.keys import EDSR, VQF4, ClassicUNet, EfficientUNet, GuidedUNet, Network
    from histogenesis.models.networks.keys import NetworkKeys as AnyNetwork
else:
    PublishedVQ = section_of(keys.PublishedVQ)
    NETWORKS = {
        one.kind: section_of(one, **({"weights": PublishedVQ | None} if one is keys.VQF4 else {})) for one in keys.KEYS
    }
    AnyNetwork = Annotated[
        Union[tuple(Annotated[section, Tag(kind)] for kind, section in NETWORKS.items())],  # noqa: UP007, as many as there are
        by_kind(*NETWORKS),
    ]
    Network = NETWORKS["ddpmpp"]
    ClassicUNet = NETWORKS["classic-unet"]
    EfficientUNet = NETWORKS["efficient"]
    GuidedUNet = NETWORKS["guided-unet"]
    VQF4 = NETWORKS["vq-f4"]
    EDSR = NETWORKS["edsr"]

__all__ = ["EDSR", "VQF4", "AnyNetwork", "ClassicUNet", "EfficientUNet", "GuidedUNet", "Network"]
