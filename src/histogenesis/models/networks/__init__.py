"""The networks, by the kind that a recipe names them with. A new one is a file here, and a line below."""

from histogenesis.models.networks.classic_unet import ClassicUNet
from histogenesis.models.networks.ddpmpp import DDPMpp
from histogenesis.models.networks.efficient import EfficientUNet
from histogenesis.models.networks.guided_unet import GuidedUNet

NETWORKS = {"ddpmpp": DDPMpp, "efficient": EfficientUNet, "classic-unet": ClassicUNet, "guided-unet": GuidedUNet}
