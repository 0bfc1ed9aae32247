"""Refinement of frames whose open field is overexposed: edges before it show the dark end of their blur only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluoropose.drr import Renderer
from fluoropose.refinement import FixedView, Refiner, fixed_view
from fluoropose.rig import Fluoroscope, Rig
from refinement_scene import SIDE, TRUTH, Image, error, implant, off, rig

BLUR_PX, GAMMA = 2.0, 0.6


def plain() -> Rig:
    return Rig(tuple(Fluoroscope(scope.view, None, scope.field) for scope in rig().fluoroscopes))


def overexposed(times: float) -> list[Image]:
    """Metal with flesh above it and air below, blurred, the air so many times as bright as white."""
    flesh = gaussian_filter(np.where(np.arange(SIDE) < 0.47 * SIDE, 1.6, 0.0), 6)[:, None]
    found = []
    for scope in plain().fluoroscopes:
        line = Renderer(implant(4).volume).render(scope.view, TRUTH)
        light = gaussian_filter(np.exp(-line - flesh), BLUR_PX)
        found.append((1 - np.clip(times * light, 0, 1) ** GAMMA).astype(np.float32))
    return found


def test_edges_before_an_overexposed_field_do_not_pull(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = overexposed(4.0)
    turn, shift = error(Refiner(plain(), implant()).refine(pair, off(2.0, 2.0)).world_from_bone)
    monkeypatch.setattr(FixedView, "exposed", lambda window: window)
    turn_with_all, shift_with_all = error(Refiner(plain(), implant()).refine(pair, off(2.0, 2.0)).world_from_bone)
    # Measured: 0.46 degrees and 0.41 mm, with all pixels 0.89 degrees and 0.77 mm.
    assert turn < 0.65 < turn_with_all
    assert shift < 0.5 < 0.65 < shift_with_all


def test_white_is_found_in_the_field_alone() -> None:
    scope = plain().fluoroscopes[0]
    frame = np.full((SIDE, SIDE), 0.3, np.float32)
    frame[150:160, 150:160] = 0
    frame[170, 170] = 0.01
    aside = TRUTH.apply(implant().vertices)
    white = fixed_view(scope, frame, aside, 128).white
    assert white is not None
    assert 0 < white.mean() < 0.05
    frame[150:160, 150:160] = 0.3
    assert fixed_view(scope, frame, aside, 128).white is None


def test_only_what_lies_beside_white_is_left_out() -> None:
    view = rig().fluoroscopes[0].view.resized((64, 64))
    image, lit = np.full((64, 64), 0.3, np.float32), np.ones((64, 64), np.float32)
    white = np.zeros((64, 64), bool)
    white[:10, :10] = True
    window = FixedView(view, image, lit, white)
    left = window.exposed().weights
    assert not left[:13, :10].any()
    assert left[13:].all()
    assert left[:, 13:].all()
    white[:, :32] = True
    assert window.exposed() is window  # where most is white, all of it must do
    plain_window = FixedView(view, image, lit)
    assert plain_window.exposed() is plain_window
