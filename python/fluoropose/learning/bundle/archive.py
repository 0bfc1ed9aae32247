"""Reading and writing the file: checked when read, added to under a lock, never half-written."""

from __future__ import annotations

import copy
import fcntl
import hashlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fluoropose._files import atomic_path
from fluoropose.errors import FileFormatError, InputError, first_line
from fluoropose.learning.bundle.manifest import (
    NETWORKS,
    LandmarkFacts,
    Manifest,
    ManifestV1,
    NetworkFacts,
    NetworkName,
    Networks,
    Owner,
)
from fluoropose.learning.preprocess import Preprocessing

__all__ = ["add_networks", "copy_networks", "quiet", "read_archive", "require_room"]

_MANIFEST = "manifest.json"

Stored = Literal["float32", "float16"]


def add_networks(
    path: str | Path,
    owner: Owner,
    networks: Mapping[NetworkName, tuple[nn.Module, NetworkFacts]],
    stored: Stored = "float32",
) -> None:
    """Put networks into a bundle, in place of those of the same names; where there is no bundle, begin one.

    Several processes may add to one bundle: each reads, adds and renames while it holds a lock.

    Parameters
    ----------
    path
        The bundle.
    owner
        What the networks were trained for.
    networks
        By name: a module that takes and returns what its facts' class says, and the facts, without ``parameters`` and
        ``sha256``, which are filled in.
    stored
        Precision of the weights in the file; a bundle always runs in float32.

    Raises
    ------
    FileFormatError
        If there is a file that is no bundle, or a bundle whose other networks belong to another bone or rig.
    InputError
        If a number in the facts is NaN.
    """
    exported = {name: _exported(module, facts, stored) for name, (module, facts) in networks.items()}
    _put(Path(path), owner, exported)


def copy_networks(source: str | Path, path: str | Path, names: Collection[NetworkName] = NETWORKS) -> None:
    """Put networks of one bundle into another, all that it has by default.

    Raises FileFormatError as ``add_networks`` does.
    """
    manifest, weights = read_archive(Path(source))
    named = {name: facts for name, facts in manifest.networks.named().items() if name in names}
    _put(Path(path), manifest.owner, {name: (weights[name], facts) for name, facts in named.items()})


def _put(path: Path, owner: Owner, networks: Mapping[NetworkName, tuple[bytes, NetworkFacts]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        manifest, weights = _kept(path, owner, set(networks))
        weights |= {name: content for name, (content, _) in networks.items()}
        entries = manifest.networks.named() | {name: facts for name, (_, facts) in networks.items()}
        rig = owner.rig or manifest.rig  # bundles of version 1 do not know theirs
        manifest = Manifest(**dict(owner) | {"rig": rig}, networks=Networks.model_validate(entries))
        document = manifest.model_dump_json(indent=1)
        _require_readable(document)
        with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_MANIFEST, document)
            for name, content in weights.items():
                archive.writestr(f"{name}.pt", content)


def require_room(
    path: str | Path, owner: Owner, names: set[NetworkName], size: int, preprocessing: Preprocessing
) -> None:
    """Raise FileFormatError unless networks of these names can be added; to be asked before hours of training.

    All networks of a bundle see the same crops: ``size`` pixels, preprocessed alike.
    """
    manifest, _ = _kept(Path(path), owner, names)
    for name, facts in manifest.networks.named().items():
        if (facts.size, facts.preprocessing) != (size, preprocessing):
            raise FileFormatError(
                f"{path}: its network {name!r} takes crops of {facts.size} px, {facts.preprocessing!r}; "
                f"found a set of {size} px, {preprocessing!r}"
            )


def read_archive(path: Path) -> tuple[Manifest, dict[NetworkName, bytes]]:
    """Read manifest and weights, every weight's SHA-256 checked.

    Raises
    ------
    FileFormatError
        If the file is missing, cut short, altered, or no bundle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            document = json.loads(archive.read(_MANIFEST))
            manifest, files = _manifest(document)
            weights = {name: archive.read(file) for name, file in files.items()}
    except ValidationError as error:
        raise FileFormatError(f"{path}: {_MANIFEST}: {_first(error)}") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path}: expected a zip of {_MANIFEST} and networks: {first_line(error)}") from error
    for name, facts in manifest.networks.named().items():
        found = hashlib.sha256(weights[name]).hexdigest()
        if found != facts.sha256:
            raise FileFormatError(
                f"{path}: {files[name]}: SHA-256 {found[:12]}... is not the manifest's; it was altered"
            )
    return manifest, weights


def _require_readable(document: str) -> None:
    """Raise InputError for a manifest that could not be read again, before it replaces one that can."""
    try:
        Manifest.model_validate_json(document)
    except ValidationError as error:  # of numbers that are none, above all
        raise InputError(_first(error)) from error


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch: TorchScript is deprecated, but runs without Python; and tracing fixes sizes, as it should."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]  # not listed
        yield


def _manifest(document: Any) -> tuple[Manifest, dict[NetworkName, str]]:
    """Return the manifest, and in which file of the archive each network is."""
    if isinstance(document, dict) and document.get("format") == "fluoropose-landmarks":
        return ManifestV1.model_validate(document).upgraded(), {"landmarks": "network.pt"}
    manifest = Manifest.model_validate(document)
    return manifest, {name: f"{name}.pt" for name in manifest.networks.named()}


def _kept(path: Path, owner: Owner, replaced: set[NetworkName]) -> tuple[Manifest, dict[NetworkName, bytes]]:
    """Return what stays of the bundle at ``path`` when some networks are replaced."""
    empty = Manifest(**dict(owner), networks=Networks())
    if not path.exists():
        return empty, {}
    manifest, weights = read_archive(path)
    kept = {name: facts for name, facts in manifest.networks.named().items() if name not in replaced}
    if not kept:
        return empty, {}
    holds = f"{path}: holds networks ({', '.join(kept)}) of"
    if manifest.bone_fingerprint != owner.bone_fingerprint:
        raise FileFormatError(
            f"{holds} bone {manifest.bone_name!r} ({manifest.bone_fingerprint[:12]}...), found {owner.bone_name!r} "
            f"({owner.bone_fingerprint[:12]}...); give another name for the bundle"
        )
    if manifest.views != owner.views:
        raise FileFormatError(f"{holds} a rig with {manifest.views} views, found {owner.views}")
    if manifest.rig is not None and owner.rig is not None:
        said, _ = manifest.rig.differences(owner.rig)
        if said:
            raise FileFormatError(f"{holds} another rig: {'; '.join(said)}; give another name for the bundle")
    return (
        manifest.model_copy(update={"networks": Networks.model_validate(kept)}),
        {name: content for name, content in weights.items() if name in kept},
    )


def _exported(module: nn.Module, facts: NetworkFacts, stored: Stored) -> tuple[bytes, NetworkFacts]:
    module = copy.deepcopy(module).cpu().float().eval()
    crops = torch.zeros(2, 1, facts.size, facts.size)
    inputs: tuple[Tensor, ...] = (crops,)
    if isinstance(facts, LandmarkFacts):
        inputs = (crops, torch.zeros(2, dtype=torch.long))
    buffer = io.BytesIO()
    with torch.inference_mode(), quiet():
        traced = torch.jit.trace(module, inputs)  # type: ignore[no-untyped-call]
        torch.jit.save(traced.half() if stored == "float16" else traced, buffer)
    weights = buffer.getvalue()
    count = sum(parameter.numel() for parameter in module.parameters())
    return weights, facts.model_copy(update={"parameters": count, "sha256": hashlib.sha256(weights).hexdigest()})


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder, so that no lock file is left behind; it ends with the process at the latest."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
