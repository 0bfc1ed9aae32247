"""Predicted beside true landmarks on a set's test samples, and how far off each landmark is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle, NetworkFacts
from fluoropose.learning.config import LearningConfig
from fluoropose.learning.dataset import RadiographSet
from fluoropose.report.page import Picture, Section, new_figure
from fluoropose.report.radiographs import drawn, show

__all__ = ["prediction_section", "require_same"]

_COLUMNS, _ROWS = 6, 2
_BATCH = 64
_TRUE, _PREDICTED = "#4caf50", "#ff5252"


@dataclass(frozen=True, eq=False)
class _Predictions:
    """Of t test samples: inputs (t, size, size), true and predicted landmarks (t, n, 2) px, views (t,)."""

    inputs: NDArray[np.float32]
    true: NDArray[np.float64]
    predicted: NDArray[np.float64]
    views: NDArray[np.int64]

    @property
    def distances(self) -> NDArray[np.float64]:
        """(t, n) px between them; NaN where the true landmark lies outside the picture."""
        size = self.inputs.shape[1]
        inside = ((self.true > -0.5) & (self.true < size - 0.5)).all(axis=2)
        return np.where(inside, np.linalg.norm(self.predicted - self.true, axis=2), np.nan)


def prediction_section(radiographs: RadiographSet, bundle: Bundle, config: LearningConfig) -> Section:
    """Show what the bundle's landmark network finds in the samples that it has never been trained on.

    Parameters
    ----------
    radiographs
        The set; its last ``test_count`` samples are tested.
    bundle
        Holds a landmark network for the set's bone.
    config
        Whose style the samples wear.

    Raises
    ------
    InputError
        If the bundle has no landmark network, or one for another bone, another rig or other pictures than the set's.
    """
    found = _predict(radiographs, bundle, config)
    names = radiographs.owner.landmark_names
    return Section(
        f"Landmarks found in {len(found.true)} test samples",
        f"By the landmark network of {bundle.path.name}, in pictures that it was not trained on, in the style of the "
        "run. Distances are pixels of the network's picture, of landmarks that lie inside it; log10 MSE is of "
        "coordinates from -1 to 1, as in Zhou et al. 2021 (-2.96 on test samples), over all landmarks and over those "
        "inside.",
        [
            Picture("from the best to the worst sample: true landmarks green, predicted ones red", _sheet(found)),
            Picture("distances per landmark: box from quartile to quartile, whiskers 5 to 95 %", _boxes(found, names)),
            Picture("share of landmarks that lie no farther off, by view", _shares(found)),
        ],
        [
            ("samples", "landmarks inside", "log10 MSE", "log10 MSE inside", "median, px", "95 %, px"),
            *(_row(f"view {view + 1}", found, found.views == view) for view in np.unique(found.views)),
            _row("all", found, np.ones(len(found.true), bool)),
        ],
    )


def _predict(radiographs: RadiographSet, bundle: Bundle, config: LearningConfig) -> _Predictions:
    network = bundle.landmarks
    require_same(radiographs, bundle, network.facts)
    tested = torch.arange(len(radiographs) - radiographs.config.dataset.test_count, len(radiographs))
    inputs, true, predicted = [], [], []
    for rows in torch.split(tested, _BATCH):
        pictures, shown = drawn(radiographs, rows, config.style, network.facts.preprocessing)
        inputs.append(shown)
        true.append(pictures.landmarks_px.numpy().astype(np.float64))
        predicted.append(network.predict(shown, radiographs.view[rows].tolist()).px)
    views = radiographs.view[tested].numpy()
    return _Predictions(np.concatenate(inputs), np.concatenate(true), np.concatenate(predicted), views)


def require_same(radiographs: RadiographSet, bundle: Bundle, facts: NetworkFacts) -> None:
    """Raise InputError unless a bundle's network belongs to bone and rig of a set, and takes pictures of its size."""
    trained, made, size = bundle.manifest, radiographs.owner, radiographs.config.dataset.size
    if trained.bone_fingerprint != made.bone_fingerprint or trained.views != made.views:
        raise InputError(
            f"{bundle.path}: trained for bone {trained.bone_name!r} ({trained.bone_fingerprint[:12]}...) in "
            f"{trained.views} views; the set is of {made.bone_name!r} ({made.bone_fingerprint[:12]}...) in {made.views}"
        )
    said, within = ([], True) if trained.rig is None or made.rig is None else trained.rig.differences(made.rig)
    if not within:
        raise InputError(f"{bundle.path}: trained for another rig than the set was made for: {'; '.join(said)}")
    if facts.size != size:
        raise InputError(f"{bundle.path}: takes pictures of {facts.size} px, those of the set have {size}")


def _row(name: str, found: _Predictions, chosen: NDArray[np.bool_]) -> tuple[str, ...]:
    distances = found.distances[chosen]
    squares = ((found.predicted[chosen] - found.true[chosen]) * 2 / found.inputs.shape[1]) ** 2
    inside: NDArray[np.bool_] = np.isfinite(distances)
    kept = distances[inside]
    whole = f"{name}: {int(chosen.sum())}", str(kept.size), f"{np.log10(squares.mean()):.2f}"
    if not kept.size:
        return (*whole, "", "", "")
    numbers = np.log10(squares[inside].mean()), np.median(kept), np.percentile(kept, 95)
    return (*whole, *(f"{number:.2f}" for number in numbers))


def _sheet(found: _Predictions) -> Figure:
    distances = found.distances
    seen = np.isfinite(distances).any(axis=1)
    middles = np.full(len(distances), np.inf)
    middles[seen] = np.nanmedian(distances[seen], axis=1)
    order = np.argsort(middles, kind="stable")
    order = order[: int(seen.sum())]
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(_COLUMNS * _ROWS, len(order))).round().astype(int))]
    figure = new_figure(2.35 * _COLUMNS, 2.5 * _ROWS)
    places = np.ravel(figure.subplots(_ROWS, _COLUMNS))
    size = found.inputs.shape[1]
    for axes in places:
        axes.set_axis_off()
    for axes, k in zip(places, chosen, strict=False):
        show(axes, found.inputs[k], f"view {found.views[k] + 1}, median {middles[k]:.1f} px")
        inside = np.isfinite(found.distances[k])
        true, predicted = found.true[k][inside], found.predicted[k][inside]
        axes.plot(*np.stack([true, predicted]).transpose(2, 0, 1), color=_PREDICTED, lw=0.6)
        axes.scatter(*true.T, s=12, facecolors="none", edgecolors=_TRUE, linewidths=0.9)
        axes.scatter(*predicted.T, s=5, color=_PREDICTED)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    return figure


def _boxes(found: _Predictions, names: tuple[str, ...]) -> Figure:
    figure = new_figure(14, 3.6)
    axes = figure.subplots()
    columns = [column[np.isfinite(column)] for column in found.distances.T]
    axes.boxplot(columns, whis=(5, 95), showfliers=False, medianprops={"color": _PREDICTED}, widths=0.6)
    labels = [f"{name}\n({len(column)})" for name, column in zip(names, columns, strict=True)]
    axes.set_xticks(range(1, len(names) + 1), labels, fontsize=6, rotation=60)
    axes.set_ylabel("pixels")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    return figure


def _shares(found: _Predictions) -> Figure:
    figure = new_figure(7, 3)
    axes = figure.subplots()
    for view in np.unique(found.views):
        kept = found.distances[found.views == view]
        kept = np.sort(kept[np.isfinite(kept)])
        axes.step(kept, np.linspace(0, 100, len(kept)), label=f"view {view + 1}")
    axes.set(xlabel="pixels", ylabel="%", xscale="log", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
