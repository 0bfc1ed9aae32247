"""A bundle that can be run."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.bundle.archive import quiet, read_archive
from fluoropose.learning.bundle.captured import Function
from fluoropose.learning.bundle.manifest import Manifest, NetworkName, StyleFacts
from fluoropose.learning.bundle.networks import LandmarkNetwork, SegmentNetwork, StyleNetwork
from fluoropose.learning.bundle.placed import PROCESSOR, Placed, device_named
from fluoropose.learning.bundle.precision import OnDevice, Precision
from fluoropose.learning.bundle.rig_facts import TOLERANCE_DEG, TOLERANCE_SHARE, RigFacts

if TYPE_CHECKING:
    from fluoropose.bone import Bone
    from fluoropose.rig import Rig

__all__ = ["Bundle"]

_BORNE = (
    f"a network bears up to {TOLERANCE_DEG:g} degrees between views and {TOLERANCE_SHARE:.0%} of fields and distances"
)


@dataclass(frozen=True, eq=False)
class Bundle:
    """The networks of one bone; see ``load``. A network is built when it is first asked for.

    Attributes
    ----------
    manifest
        Whose networks they are, and what each expects.
    path
        Where they come from.
    weights
        Their TorchScript files.
    device
        Where they run.
    precision
        In which they compute on the processor.
    """

    manifest: Manifest
    path: Path
    weights: Mapping[NetworkName, bytes]
    device: torch.device = PROCESSOR
    precision: Precision = "float32"

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", precision: Precision = "float32") -> Bundle:
        """Read a bundle and check all weights against its manifest.

        Parameters
        ----------
        path
            The file.
        device
            Where its networks run: "cpu", "cuda" or "cuda:N". What fails there goes on on the processor.
        precision
            In which they compute on a processor, see ``OnDevice``; on other devices it is float16.

        Raises
        ------
        FileFormatError
            If the file is missing, cut short, altered, or no bundle.
        InputError
            If there is no such device or precision.
        """
        path, place = Path(path), device_named(device)
        if precision not in get_args(Precision):
            raise InputError(f"precision: expected one of {', '.join(get_args(Precision))}, found {precision!r}")
        manifest, weights = read_archive(path)
        return cls(manifest, path, weights, place, precision)

    def require(self, bone: Bone, rig: Rig) -> None:
        """Raise InputError unless the networks were trained for this very bone and such a rig.

        A rig that was calibrated anew since is warned of where it differs by more than 0.05 degrees or a thousandth;
        one that differs by more than 5 degrees between views or by 10 % in the fields or the sources' places is
        refused. Bundles of version 1 know the number of views only.
        """
        owner = self.manifest
        if owner.bone_fingerprint != bone.fingerprint:
            raise InputError(
                f"{self.path}: trained for bone {owner.bone_name!r} ({owner.bone_fingerprint[:12]}...), "
                f"found {bone.name!r} ({bone.fingerprint[:12]}...); train again or use the bone it was trained for"
            )
        if owner.views != len(rig.fluoroscopes):
            raise InputError(f"{self.path}: trained for {owner.views} views, found a rig with {len(rig.fluoroscopes)}")
        said, within = ([], True) if owner.rig is None else owner.rig.differences(RigFacts.of(rig))
        if not within:
            raise InputError(
                f"{self.path}: trained for another rig: {'; '.join(said)}; {_BORNE}; make a set for this rig and train "
                "again"
            )
        if said:
            calibration = f"{self.path}: trained for another calibration: {'; '.join(said)}"
            warnings.warn(f"{calibration}; this can be used: {_BORNE}", stacklevel=3)

    @cached_property
    def landmarks(self) -> LandmarkNetwork:
        """The landmark network; InputError where there is none."""
        facts = self.manifest.networks.landmarks
        if facts is None:
            found = ", ".join(self.manifest.networks.named()) or "nothing"
            raise InputError(f"{self.path}: expected a landmark network, found {found}; fluoropose train landmarks")
        return LandmarkNetwork(facts, self.manifest.views, self._ready("landmarks"))

    def asked(self, segmentation: bool, translation: bool) -> tuple[SegmentNetwork | None, StyleNetwork | None]:
        """Return the networks that a trial asks for.

        Of two translations the large one is taken on a GPU, and the small one on the processor, also when the GPU has
        failed. What does not go together with the radiographs that the landmark network was trained on is warned of.

        Raises
        ------
        InputError
            If one is not in the bundle.
        """
        if segmentation and self.segment is None:
            raise InputError(f"{self.path}: expected a segmentation network, which fluoropose train segment makes")
        if translation and self._translator is None:
            raise InputError(f"{self.path}: expected a translation network, which fluoropose train style makes")
        landmarks = self.manifest.networks.landmarks
        if landmarks is not None and landmarks.plain is not None and landmarks.plain != translation:
            seen = (
                "plain radiographs alone: translate" if landmarks.plain else "X-rays of many styles: do not translate"
            )
            warnings.warn(f"{self.path}: the landmark network was trained on {seen} the frames", stacklevel=3)
        return self.segment if segmentation else None, self._translator if translation else None

    @cached_property
    def _translator(self) -> StyleNetwork | None:
        large, small = self.translate, self.translate_small
        if large is None or small is None:
            return large or small

        def suited(device: torch.device) -> StyleNetwork:
            return small if device.type == "cpu" else large

        module = Placed(lambda device: suited(device).module.make(device), self.device, f"{self.path.name}: translate")
        return StyleNetwork(suited(self.device).facts, module)

    @cached_property
    def segment(self) -> SegmentNetwork | None:
        """The segmentation network, if any."""
        facts = self.manifest.networks.segment
        return None if facts is None else SegmentNetwork(facts, self._ready("segment"))

    @cached_property
    def translate(self) -> StyleNetwork | None:
        """The network that makes radiographs of X-rays, if any."""
        return self._style("translate", self.manifest.networks.translate)

    @cached_property
    def translate_small(self) -> StyleNetwork | None:
        """The same, distilled into a small one for machines without a GPU, if any."""
        return self._style("translate_small", self.manifest.networks.translate_small)

    @cached_property
    def untranslate(self) -> StyleNetwork | None:
        """The network that makes X-rays of radiographs, if any."""
        return self._style("untranslate", self.manifest.networks.untranslate)

    @property
    def parameters(self) -> dict[NetworkName, int]:
        """How many weights each network has."""
        return {name: sum(one.numel() for one in self.module(name).parameters()) for name in self.weights}

    def module(self, name: NetworkName) -> Any:
        """Load a network anew, as TorchScript in float32 on the processor; FileFormatError where it is none."""
        try:
            with quiet():
                module = torch.jit.load(io.BytesIO(self.weights[name]), map_location="cpu")  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise FileFormatError(f"{self.path}: {name}: not a TorchScript network: {error}") from error
        return module.float().eval()

    def _style(self, name: NetworkName, facts: StyleFacts | None) -> StyleNetwork | None:
        return None if facts is None else StyleNetwork(facts, self._ready(name))

    def _ready(self, name: NetworkName) -> Placed:
        facts = self.manifest.networks.named()[name]

        def make(device: torch.device) -> Function:
            return OnDevice(self.module(name), device, self.precision, facts.size)

        return Placed(make, self.device, f"{self.path.name}: {name}")
