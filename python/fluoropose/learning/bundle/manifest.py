"""What stands in a bundle's manifest: whose networks these are, and how each is to be fed."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import PositiveInt

from fluoropose._toml import Config
from fluoropose.learning.bundle.rig_facts import RigFacts
from fluoropose.learning.preprocess import Preprocessing

__all__ = [
    "NETWORKS",
    "LandmarkFacts",
    "Manifest",
    "NetworkFacts",
    "NetworkName",
    "Networks",
    "Owner",
    "SegmentFacts",
    "StyleFacts",
]

NetworkName = Literal["landmarks", "segment", "translate", "untranslate", "translate_small"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)


class Owner(Config):
    """Whose networks these are.

    Attributes
    ----------
    bone_name, bone_fingerprint, landmark_names
        The bone; registration refuses any other.
    views
        Number of views of the rig.
    rig
        Its geometry; None in bundles of version 1, which did not keep it.
    """

    bone_name: str
    bone_fingerprint: str
    landmark_names: tuple[str, ...]
    views: int
    rig: RigFacts | None


class NetworkFacts(Config):
    """One network.

    Attributes
    ----------
    size
        Side of the crops it takes, pixels.
    preprocessing
        From crop to input, in [-1, 1].
    training
        Numbers of the training, for people to read: "epochs" and "seconds" until it was as it is, errors in tests.
    trained_on
        The device; None in older bundles.
    parameters
        How many weights it has; None in bundles of version 1.
    sha256
        Of the TorchScript file.
    """

    size: PositiveInt
    preprocessing: Preprocessing
    training: dict[str, float]
    trained_on: str | None = None
    parameters: int | None = None
    sha256: str = ""


class LandmarkFacts(NetworkFacts):
    """In: crops (b, 1, size, size) and the index of each one's view (b,). Out: (b, n, 2), or (b, n, 3).

    Attributes
    ----------
    coordinates
        What the first two outputs mean.
    deviations
        Whether a third output tells the logarithm of the position's standard deviation per axis, in the same unit.
    crop_margin
        Side of a close region relative to the landmarks' box; None: always the whole field.
    plain
        Whether it has seen plain radiographs alone, so that X-rays must be translated first; None: not known.
    """

    coordinates: Literal["2 (px + 0.5) / size - 1"] = "2 (px + 0.5) / size - 1"
    deviations: bool = False
    crop_margin: float | None
    plain: bool | None = None


class SegmentFacts(NetworkFacts):
    """In: crops (b, 1, size, size). Out: (b, 1, size, size), per pixel the probability that its ray meets the bone."""


class StyleFacts(NetworkFacts):
    """In and out: crops (b, 1, size, size) in [-1, 1], bright = attenuating, of one style and of the other.

    ``translate`` and ``translate_small`` make radiographs from X-rays, ``untranslate`` the reverse.
    """


class Networks(Config):
    """The networks that a bundle holds; each is in the file that has its name and ends in ".pt"."""

    landmarks: LandmarkFacts | None = None
    segment: SegmentFacts | None = None
    translate: StyleFacts | None = None
    untranslate: StyleFacts | None = None
    translate_small: StyleFacts | None = None

    def named(self) -> dict[NetworkName, NetworkFacts]:
        """Return those that are there."""
        found = {name: getattr(self, name) for name in NETWORKS}
        return {name: facts for name, facts in found.items() if facts is not None}


class Manifest(Owner):
    """All of a bundle that is not weights."""

    format: Literal["fluoropose-bundle"] = "fluoropose-bundle"
    version: Literal[2] = 2
    networks: Networks

    @property
    def owner(self) -> Owner:
        """Whose networks these are."""
        return Owner(**{name: getattr(self, name) for name in Owner.model_fields})


class ManifestV1(Config):
    """The manifest of bundles that held a landmark network alone, in "network.pt"."""

    format: Literal["fluoropose-landmarks"]
    version: Literal[1]
    bone_name: str
    bone_fingerprint: str
    landmark_names: tuple[str, ...]
    views: int
    size: PositiveInt
    preprocessing: Preprocessing
    coordinates: Literal["2 (px + 0.5) / size - 1"]
    crop_margin: float | None
    training: dict[str, float]
    sha256: str

    def upgraded(self) -> Manifest:
        """Return the same in today's form."""
        landmarks = LandmarkFacts(
            size=self.size,
            preprocessing=self.preprocessing,
            training=self.training,
            sha256=self.sha256,
            crop_margin=self.crop_margin,
        )
        return Manifest(
            bone_name=self.bone_name,
            bone_fingerprint=self.bone_fingerprint,
            landmark_names=self.landmark_names,
            views=self.views,
            rig=None,
            networks=Networks(landmarks=landmarks),
        )
