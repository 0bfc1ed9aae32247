"""Trained networks of one bone as one file, with all that is needed to run them.

An ``.fpbundle`` is a zip file of ``manifest.json`` and one TorchScript file per network. Programs without this package
can run the networks with libtorch: what goes in and comes out stands in the manifest's classes.
"""

from fluoropose.learning.bundle.archive import add_networks, copy_networks, require_room
from fluoropose.learning.bundle.bundle import Bundle
from fluoropose.learning.bundle.chain import Chain
from fluoropose.learning.bundle.manifest import (
    NETWORKS,
    LandmarkFacts,
    Manifest,
    NetworkFacts,
    NetworkName,
    Owner,
    SegmentFacts,
    StyleFacts,
)
from fluoropose.learning.bundle.networks import LandmarkNetwork, Landmarks, SegmentNetwork, StyleNetwork
from fluoropose.learning.bundle.placed import Placed, device_named
from fluoropose.learning.bundle.precision import Precision, fastest_precision
from fluoropose.learning.bundle.rig_facts import RigFacts

__all__ = [
    "NETWORKS",
    "Bundle",
    "Chain",
    "LandmarkFacts",
    "LandmarkNetwork",
    "Landmarks",
    "Manifest",
    "NetworkFacts",
    "NetworkName",
    "Owner",
    "Placed",
    "Precision",
    "RigFacts",
    "SegmentFacts",
    "SegmentNetwork",
    "StyleFacts",
    "StyleNetwork",
    "add_networks",
    "copy_networks",
    "device_named",
    "fastest_precision",
    "require_room",
]
