"""A trained network as one file: TorchScript weights and a manifest that says what they are good for."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from fluoropose._files import atomic_path
from fluoropose._toml import Config
from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.landmark_net import px_from_normalised
from fluoropose.learning.preprocess import Preprocessing

if TYPE_CHECKING:
    from fluoropose.bone import Bone

__all__ = ["Bundle", "Manifest", "write_bundle"]

_WEIGHTS, _MANIFEST = "network.pt", "manifest.json"


class Manifest(Config):
    """What a bundle's network was trained for and how to feed it.

    Attributes
    ----------
    bone_name, bone_fingerprint, landmark_names
        The bone; registration refuses any other.
    views
        Number of views of the rig; the network is told which one a crop is of.
    size
        Side of the crops, pixels.
    preprocessing
        From crop to input.
    coordinates
        What the outputs mean.
    crop_margin
        Side of a close region relative to the landmarks' box; None: always the whole field.
    training
        Numbers of the training, for people to read.
    sha256
        Of the weights.
    """

    format: Literal["fluoropose-landmarks"] = "fluoropose-landmarks"
    version: Literal[1] = 1
    bone_name: str
    bone_fingerprint: str
    landmark_names: tuple[str, ...]
    views: int
    size: int
    preprocessing: Preprocessing
    coordinates: Literal["2 (px + 0.5) / size - 1"] = "2 (px + 0.5) / size - 1"
    crop_margin: float | None
    training: dict[str, float]
    sha256: str = ""


def write_bundle(
    path: str | Path, network: nn.Module, manifest: Manifest, stored: Literal["float32", "float16"] = "float32"
) -> None:
    """Export a network, called with crops (b, 1, h, w) and view indices (b,), as TorchScript with its manifest.

    ``stored`` is the precision of the weights in the file; a bundle always runs in float32.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    buffer = io.BytesIO()
    with torch.inference_mode(), _quiet():
        crops = torch.zeros(2, 1, manifest.size, manifest.size)
        views = torch.zeros(2, dtype=torch.long)
        traced = torch.jit.trace(network, (crops, views))  # type: ignore[no-untyped-call]
        torch.jit.save(traced.half() if stored == "float16" else traced, buffer)
    weights = buffer.getvalue()
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(weights).hexdigest()})
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_MANIFEST, manifest.model_dump_json(indent=1))
        archive.writestr(_WEIGHTS, weights)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A landmark network that can be run; see ``load``."""

    manifest: Manifest
    path: Path
    network: Any

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read a bundle and check its weights against its manifest.

        Raises
        ------
        FileFormatError
            If the file is missing, cut short, altered, or no bundle.
        """
        path = Path(path)
        try:
            with zipfile.ZipFile(path) as archive:
                manifest = Manifest.model_validate(json.loads(archive.read(_MANIFEST)))
                weights = archive.read(_WEIGHTS)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise FileFormatError(f"{path}: {_MANIFEST}: {field}: {first['msg']}") from error
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise FileFormatError(f"{path}: expected a zip of {_MANIFEST} and {_WEIGHTS}: {error}") from error
        found = hashlib.sha256(weights).hexdigest()
        if found != manifest.sha256:
            raise FileFormatError(f"{path}: {_WEIGHTS}: SHA-256 {found[:12]}... is not the manifest's; it was altered")
        try:
            with _quiet():
                network = torch.jit.load(io.BytesIO(weights), map_location="cpu")  # type: ignore[no-untyped-call]
                network = network.float()
        except RuntimeError as error:
            raise FileFormatError(f"{path}: {_WEIGHTS}: not a TorchScript network: {error}") from error
        return cls(manifest, path, network.eval())

    def require(self, bone: Bone) -> None:
        """Raise InputError unless the network was trained for this very bone."""
        if self.manifest.bone_fingerprint != bone.fingerprint:
            raise InputError(
                f"{self.path}: trained for bone {self.manifest.bone_name!r} "
                f"({self.manifest.bone_fingerprint[:12]}...), "
                f"found {bone.name!r} ({bone.fingerprint[:12]}...); train again or use the bone it was trained for"
            )

    def predict(self, crops: NDArray[np.float32], views: Sequence[int]) -> NDArray[np.float64]:
        """Predict where the landmarks lie.

        Parameters
        ----------
        crops
            (b, size, size) in [-1, 1], from ``crop_frame`` and ``manifest.preprocessing.apply``.
        views
            (b,) index of the view each crop is of.

        Returns
        -------
        (b, n, 2) pixels of the crop; landmarks outside the crop have positions outside it.

        Raises
        ------
        InputError
            If shapes, ranges or view indices are not as expected.
        """
        images = np.ascontiguousarray(crops, dtype=np.float32)
        size = self.manifest.size
        if images.ndim != 3 or images.shape[1:] != (size, size):
            raise InputError(f"crops: expected shape (b, {size}, {size}), found {images.shape}")
        if not np.isfinite(images).all() or np.abs(images).max(initial=0) > 1 + 1e-4:
            raise InputError("crops: expected finite numbers in [-1, 1], as preprocessing gives them")
        index = np.asarray(views)
        if index.shape != (len(images),) or not np.isin(index, np.arange(self.manifest.views)).all():
            raise InputError(
                f"views: expected {len(images)} indices from 0 to {self.manifest.views - 1}, found {list(views)}"
            )
        with torch.inference_mode():
            output = self.network(torch.from_numpy(images)[:, None], torch.from_numpy(index.astype(np.int64)))
        return np.asarray(px_from_normalised(output.double(), size).numpy())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's note that TorchScript is deprecated: the bundle's format needs no Python to be run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield
