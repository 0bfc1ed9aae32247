"""X-rays as radiographs, radiographs as X-rays, and each of them back again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError, InputError
from fluoropose.io.stored_frame import attenuating, why_unusable
from fluoropose.learning.bundle import Bundle, StyleNetwork
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.preprocess import Preprocessing, crop_frame, lit_pixels
from fluoropose.learning.translation.config import PlainStyle
from fluoropose.learning.translation.content import phi
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.report.page import Picture, Section, new_figure
from fluoropose.report.predictions import require_same
from fluoropose.report.radiographs import drawn, show
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask

__all__ = ["translation_section"]

_SHOWN = 8  # pictures of either kind

Images = NDArray[np.float32]


def translation_section(radiographs: RadiographSet, bundle: Bundle, trial: Trial) -> Section:
    """Show what a bundle's two generators make of a trial's frames and of a set's test samples.

    Parameters
    ----------
    radiographs
        The set.
    bundle
        Holds "translate" and "untranslate".
    trial
        Its frames are the X-rays.

    Raises
    ------
    InputError
        If the bundle lacks a generator, or is of another bone, rig or picture size than the set or the trial.
    FileFormatError
        If the trial's frames cannot be opened, or not one of those to be shown can be used.
    """
    there, back = bundle.translate, bundle.untranslate
    if there is None or back is None:
        found = ", ".join(bundle.manifest.networks.named()) or "nothing"
        raise InputError(
            f"{bundle.path}: expected translate and untranslate, found {found}; fluoropose train style makes them"
        )
    for network in (there, back):
        require_same(radiographs, bundle, network.facts)
    rig = Rig.load(trial.rig)
    bundle.require(Bone.load(trial.bone), rig)
    xrays, lit = _xrays(trial, rig, there.facts.size, there.facts.preprocessing)
    count = radiographs.config.dataset.test_count
    rows = torch.arange(len(radiographs) - count, len(radiographs))[:_SHOWN]
    pictures, plain = drawn(radiographs, rows, PlainStyle(), back.facts.preprocessing)
    named = [("X-rays", "radiographs", xrays, lit, there, back)]
    named += [("radiographs", "X-rays", plain, pictures.lit.numpy(), back, there)]
    drawings = []
    table: list[tuple[str, ...]] = [("", "phi, there", "phi, to and fro", "mean difference to and fro")]
    for one, other, images, seen, first, second in named:
        as_other, again = _to_and_fro(images, seen, first, second)
        titles = (one, f"as {other}", f"and back as {one}")
        drawings.append(Picture(f"{one}, as {other}, and back", _sheet(titles, (images, as_other, again))))
        table.append((f"{one} as {other}", *_kept(images, as_other, again, seen)))
    return Section(
        "Translations both ways",
        f"By the networks of {bundle.path.name}, which take and give pictures from -1 to 1, bright where much is "
        "attenuated. phi is 1 where all edges were kept, 0 where they have nothing to do with each other (Zhou et al. "
        "2021, Eq. 1).",
        drawings,
        table,
    )


def _xrays(trial: Trial, rig: Rig, size: int, preprocessing: Preprocessing) -> tuple[Images, NDArray[np.bool_]]:
    """Return the whole fields of frames evenly over a trial, as the networks take them, and their lit pixels."""
    frames = TrialFrames.open(trial)
    pictures, lit, reasons = [], [], []
    for i in np.unique(np.linspace(0, len(frames) - 1, -(-_SHOWN // len(frames.sources))).round().astype(int)):
        for source, scope in zip(frames.sources, rig.fluoroscopes, strict=True):
            region = scope.whole
            seen = lit_pixels(scope, region, size)
            try:
                stored = source.read(i)
                reason = why_unusable(stored, source.bits, scope.view.size_px, field_mask(scope))
                if reason:
                    raise FileFormatError(reason)
                frame = attenuating(stored, source.bits, trial.polarity)
                pictures.append(preprocessing.apply(crop_frame(frame, region, size), seen))
                lit.append(seen)
            except (FileFormatError, InputError) as error:
                reasons.append(f"{source.path}: frame {source.name(i)}: {error}")
    if not pictures:
        raise FileFormatError(f"frames: not one of {len(reasons)} can be used: {reasons[0]}")
    return np.stack(pictures), np.stack(lit)


def _to_and_fro(
    images: Images, lit: NDArray[np.bool_], there: StyleNetwork, back: StyleNetwork
) -> tuple[Images, Images]:
    """Return pictures translated, and these translated back; what is not lit stays white."""
    white = np.float32(1)
    as_other = np.where(lit, there.translate(images), white)
    return as_other, np.where(lit, back.translate(as_other), white)


def _kept(images: Images, as_other: Images, again: Images, lit: NDArray[np.bool_]) -> tuple[str, ...]:
    tensors = [torch.from_numpy(one) for one in (images, as_other, again)]
    seen = torch.from_numpy(lit)
    likeness = [float(phi(tensors[0], other, seen).mean()) for other in tensors[1:]]
    return *(f"{value:.3f}" for value in likeness), f"{float(np.abs(again - images)[lit].mean()):.3f}"


def _sheet(titles: Sequence[str], lines: Sequence[Images]) -> Figure:
    columns = len(lines[0])
    figure = new_figure(1.75 * columns, 1.85 * len(lines))
    for line, title, pictures in zip(figure.subplots(len(lines), columns, squeeze=False), titles, lines, strict=True):
        for k, (axes, picture) in enumerate(zip(line, pictures, strict=True)):
            show(axes, picture, title if k == 0 else "")
    return figure
