"""What a refiner does round the search itself: windows, doubt, bad input, and a GPU that fails."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement import (
    CrossCorrelation,
    GradientInformation,
    Refinement,
    Refiner,
    Schedule,
    refine,
    refiner,
)
from refinement_scene import TISSUE, TRUTH, Scene, bone, frames, off, rig, windows


def test_windows_are_not_halved_until_nothing_is_left_in_them() -> None:
    refining = Refiner(rig(), bone(), most_px=64)
    levels = refining.refine(frames(TISSUE), off(2.0, 2.0)).levels
    assert [level.size_px for level in levels] == [32, 64]
    with pytest.raises(InputError, match="coarsest_px: expected a positive number"):
        Schedule(coarsest_px=0)


def test_a_refinement_that_ran_away_or_gained_nothing_is_doubted() -> None:
    refining = Refiner(rig(), bone())
    level = refining.refine(frames(Scene()), TRUTH).levels
    away = Refinement(off(40.0, 0.0), 0.9, 0.5, (0.9, 0.9), None, level)
    assert "ran away by 40.0 degrees" in refining.doubt(away, TRUTH)
    assert "did not become more alike" in refining.doubt(Refinement(TRUTH, 0.5, 0.5, (0.5, 0.5), None, level), TRUTH)


def test_what_leads_other_starts_astray_does_not_cost_the_pose_beneath_the_given_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a simulated neck, two starts in sixty ended at another bone, less alike than where they began."""
    wrong = off(8.0, 12.0)

    def astray(*given: Any, **how: Any) -> Refinement:
        found = refine(*given, **how)
        if how["starts"].count == 1:
            return found
        return replace(found, world_from_bone=wrong, value=found.value_at_start - 0.01)

    monkeypatch.setattr(refiner, "refine", astray)
    found = Refiner(rig(), bone()).refine(frames(Scene()), off(2.0, 2.0))
    assert found.improved
    assert TRUTH.angle_to(found.world_from_bone) < math.radians(0.2)  # measured 0.098 degrees


def test_bad_input_is_named() -> None:
    refining = Refiner(rig(), bone())
    with pytest.raises(InputError, match="frames: expected one per view"):
        refining.refine(frames(Scene())[:1], TRUTH)
    with pytest.raises(InputError, match="frame: expected shape"):
        refining.refine([f[:9] for f in frames(Scene())], TRUTH)
    with pytest.raises(InputError, match="points_mm: expected some in the field"):
        refining.refine(frames(Scene()), Pose(TRUTH.rotation, [900.0, 0.0, -330.0]))
    with pytest.raises(InputError, match="skipped: expected 0 to 3"):
        Schedule(4, skipped=4)
    with pytest.raises(InputError, match="fixed: expected at least one window"):
        refine(refining.moving, [], TRUTH)
    with pytest.raises(InputError, match="metric: expected one that is a sum of squares"):
        refine(refining.moving, windows(Scene(), TRUTH), TRUTH, metric=GradientInformation())
    with pytest.raises(InputError, match="expected even sides"):
        refine(
            refining.moving,
            windows(Scene(), TRUTH),
            TRUTH,
            metric=CrossCorrelation(),
            schedule=Schedule(9, coarsest_px=1),
        )


def out_of_memory(*_: Any, **__: Any) -> Any:
    raise RuntimeError("CUDA: allocating memory: out of memory\nand more")


def test_the_processor_goes_on_where_a_gpu_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether there is no memory for the volumes, or none for a climb later on."""
    start, made = off(2.0, 2.0), refiner.MovingBone
    expected = Refiner(rig(), bone(), most_px=64).refine(frames(TISSUE), start)
    with monkeypatch.context() as patch:
        patch.setattr(
            refiner, "MovingBone", lambda volume, device="cpu": made(volume) if device == "cpu" else out_of_memory()
        )
        early = Refiner(rig(), bone(), most_px=64, device="cuda")
    assert early.problem == "refinement: cuda failed, the processor goes on: CUDA: allocating memory: out of memory"
    late = Refiner(rig(), bone(), most_px=64)
    late.moving.device = "cuda"
    late.moving.climb = out_of_memory
    found = late.refine(frames(TISSUE), start)
    assert late.problem == early.problem
    assert late.moving.device == "cpu"
    for one in (early.refine(frames(TISSUE), start), found):
        assert one.world_from_bone.angle_to(expected.world_from_bone) < 1e-9


def test_what_fails_on_the_processor_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refiner, "refine", out_of_memory)
    refining = Refiner(rig(), bone(), most_px=64)
    with pytest.raises(RuntimeError, match="out of memory"):
        refining.refine(frames(TISSUE), TRUTH)
    assert refining.problem == ""
