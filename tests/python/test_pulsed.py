"""Tubes that fire in turn: a fast bone is seen at two moments, and its pose is wanted for one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import refinement_scene as refinement
from fluoropose.drr import Renderer
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle
from fluoropose.refinement import Refiner
from fluoropose.registration import sight
from fluoropose.rig import Rig
from fluoropose.streaming.frame import Frame
from fluoropose.streaming.pairing import Pairer
from fluoropose.streaming.replay import Replay
from fluoropose.tracking import Phase, Tracker
from fluoropose.tracking.kalman import Belief, moved
from fluoropose.tracking.pulsed import at_one_moment, motion_since
from knowing_network import FRAME, TRUTH, KnowingNetwork, make_bone, make_rig
from trial_laboratory import Laboratory, recorded

RATE, OFFSET_S = 30.0, 0.012


def fast(time_s: float) -> Pose:
    """A bone that goes to and fro by 45 mm and 20 degrees, 1.3 times a second: 370 mm/s and 160 degrees/s at most."""
    s, c = np.sin(2.6 * np.pi * time_s), np.cos(2.6 * np.pi * time_s)
    turn, shift = np.radians([20 * s, 6 * c, -5 * s]), [45 * s, 8 * c, -12 * s]
    return Pose(Pose.exp(turn, [0, 0, 0]).rotation @ TRUTH.rotation, TRUTH.translation_mm + np.array(shift))


def pulsed(rig: Rig, offset_s: float) -> Rig:
    first, second = rig.fluoroscopes
    return Rig((first, replace(second, pulse_offset_s=offset_s)))


def errors(monkeypatch: pytest.MonkeyPatch, stated_s: float, fired_s: float) -> NDArray[np.float64]:
    """Errors (pairs, 2) in degrees and mm where view 2 fires so much later and the rig states so much."""
    network = KnowingNetwork(make_bone(), pulsed(make_rig(), stated_s), noise_px=0.1)
    monkeypatch.setattr(sight, "crop_frame", network.crop)
    follower, found = Tracker(network.bone, network.rig, network, proven=False), []  # type: ignore[arg-type]
    for k in range(90):
        network.truth, network.later = fast(k / RATE), fast(k / RATE + fired_s)
        tracked = follower.push(FRAME, FRAME, k / RATE)
        pose = tracked.world_from_bone
        assert pose is not None
        assert tracked.phase is (Phase.TRACKING if k else Phase.ACQUIRED), tracked.reason
        shift = pose.translation_mm - network.truth.translation_mm
        found.append((np.degrees(network.truth.angle_to(pose)), np.linalg.norm(shift)))
    return np.array(found)


def test_a_stated_offset_takes_most_of_the_error_away(monkeypatch: pytest.MonkeyPatch) -> None:
    together = errors(monkeypatch, 0.0, 0.0)[5:].mean(axis=0)
    stated = errors(monkeypatch, OFFSET_S, OFFSET_S)[5:].mean(axis=0)
    unstated = errors(monkeypatch, 0.0, OFFSET_S)[5:].mean(axis=0)
    # Measured: 0.14 degrees and 0.15 mm with tubes that fire together, 0.06 and 0.15 with an offset that is stated,
    # 0.96 and 1.30 with one that is not.
    assert (unstated > [0.7, 1.0]).all()
    assert (stated < [0.2, 0.25]).all()
    assert (stated < together + 0.05).all()


def test_an_offset_of_the_wrong_sign_makes_it_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = errors(monkeypatch, -OFFSET_S, OFFSET_S)[5:].mean(axis=0)
    unstated = errors(monkeypatch, 0.0, OFFSET_S)[5:].mean(axis=0)
    assert (wrong > 1.3 * unstated).all()


def test_a_bone_of_known_speed_is_seen_as_at_one_moment() -> None:
    bone, rig = make_bone(), pulsed(make_rig(), OFFSET_S)
    rate = np.array([1.0, -2.0, 0.5, 300.0, -50.0, 120.0])
    belief = Belief(0.0, TRUTH, rate, np.eye(12))
    then = moved(TRUTH, rate * OFFSET_S)
    first, second = rig.fluoroscopes
    seen = np.stack([first.project(TRUTH.apply(bone.landmarks_mm)), second.project(then.apply(bone.landmarks_mm))])
    wanted = np.stack([scope.project(TRUTH.apply(bone.landmarks_mm)) for scope in rig.fluoroscopes])
    assert np.abs(seen[1] - wanted[1]).max() > 3
    np.testing.assert_allclose(at_one_moment(seen, belief, rig, bone.landmarks_mm), wanted, atol=1e-9)


def test_frames_are_paired_but_for_the_offset() -> None:
    pairer = Pairer("time", tolerance_s=0.002, offset_s=OFFSET_S)
    pairs = []
    for k in range(4):
        for view in (0, 1):
            taken = k / RATE + view * OFFSET_S + 0.001 * (-1) ** k
            pairs += pairer.add(Frame(view, 7 + 5 * view + k, taken, FRAME, 0.0))
    assert [(pair.frames[0].number, pair.frames[1].number) for pair in pairs] == [(7 + k, 12 + k) for k in range(4)]  # type: ignore[union-attr]
    assert pairer.counts.missing == 0


def test_a_replayed_trial_is_exposed_as_its_rig_says() -> None:
    class Frames:
        """Two pairs."""

        times_s, numbers = (0.0, 1 / RATE), (0, 1)

        def __init__(self) -> None:
            self.sources = (self, self)
            self.bits = 16

        def read(self, index: int) -> NDArray[np.float32]:
            return FRAME

        def __len__(self) -> int:
            return 2

    replay = Replay(Frames(), None, offsets_s=(0.0, OFFSET_S))  # type: ignore[arg-type]
    assert [frame.time_s for frame in replay] == pytest.approx([0, OFFSET_S, 1 / RATE, 1 / RATE + OFFSET_S])


def test_a_rig_keeps_its_offset_and_older_rigs_have_none(tmp_path: Path) -> None:
    rig = pulsed(make_rig(), OFFSET_S)
    assert rig.offsets_s == (0.0, OFFSET_S)
    path = tmp_path / "rig.json"
    rig.save(path)
    assert Rig.load(path).offsets_s == (0.0, OFFSET_S)
    document = path.read_text()
    assert document.count('"pulse_offset_s"') == 2
    older = json.loads(document)
    for fluoroscope in older["fluoroscopes"]:
        del fluoroscope["pulse_offset_s"]
    path.write_text(json.dumps(older))
    assert Rig.load(path).offsets_s == (0.0, 0.0)


@pytest.mark.parametrize("offset", [12.0, float("nan"), "soon", None])
def test_an_offset_that_cannot_be_seconds_is_refused(tmp_path: Path, offset: object) -> None:
    with pytest.raises(InputError, match=r"pulse_offset_s: expected at most 0.1 s, found .*; is the number seconds"):
        pulsed(make_rig(), offset)  # type: ignore[arg-type]
    path = tmp_path / "rig.json"
    make_rig().save(path)
    path.write_text(path.read_text().replace('"pulse_offset_s": 0.0', '"pulse_offset_s": 12.0'))
    with pytest.raises(FileFormatError, match=r"rig.json: fluoroscopes\[0\]: pulse_offset_s: expected at most 0.1 s"):
        Rig.load(path)


def test_images_of_two_moments_are_refined_to_the_pose_of_one() -> None:
    """View 2 is exposed 12 ms later, while the bone turns by 100 degrees/s and moves by 330 mm/s."""
    scene, rate = refinement.TISSUE, np.array([1.2, -1.0, 0.8, 250.0, -150.0, 150.0])
    truth = refinement.TRUTH
    then = moved(truth, rate * OFFSET_S)
    pair = [refinement.frames(scene)[0], refinement.frames(scene, then)[1]]
    rig = pulsed(refinement.rig(), OFFSET_S)
    since = motion_since(truth, rate, rig)
    assert since is not None
    refiner = Refiner(rig, refinement.bone(), most_px=128)
    start = refinement.off(1.5, 1.5)
    found, unaware = (refiner.refine(pair, start, given) for given in (since, None))
    (turn, shift), (turn_unaware, shift_unaware) = (refinement.error(one.world_from_bone) for one in (found, unaware))
    assert turn < 0.3 < turn_unaware
    assert shift < 0.15 < 1 < shift_unaware
    assert refiner.objection(pair, found.world_from_bone, 0.6, 1.0, since) == ""
    assert motion_since(truth, rate, refinement.rig()) is None
    with pytest.raises(InputError, match="since: expected one per view"):
        refiner.refine(pair, start, since[:1])


def test_a_tracker_refines_frames_of_two_moments(lab: Laboratory) -> None:
    """The laboratory's bone, turning by 3 degrees and moving by 4 mm a frame; view 2 fires 12 ms after view 1."""
    step = np.concatenate([np.radians([1.5, 2.0, -1.5]), [3.0, 2.0, -1.0]])
    bundle, renderer = Bundle.load(lab.folder / "bone.fpbundle"), Renderer(lab.bone.volume)
    found = {}
    for stated_s in (OFFSET_S, 0.0):
        follower = Tracker(lab.bone, pulsed(lab.rig, stated_s), bundle, refine_ms=1e4, hurried=False)
        errors = []
        for k in range(7):
            now, later = (moved(lab.truth[0], (k - 4 + at) * step) for at in (0.0, OFFSET_S * RATE))
            views = zip(lab.rig.fluoroscopes, (now, later), strict=True)
            tracked = follower.push(*(recorded(renderer, scope, pose) for scope, pose in views), k / RATE)  # type: ignore[misc]
            assert tracked.world_from_bone is not None, tracked.reason
            errors.append(np.linalg.norm(now.translation_mm - tracked.world_from_bone.translation_mm))
            assert (tracked.refined_px > 0) == (k > 0 or not stated_s)  # at first its speed is not known
        found[stated_s] = max(errors[3:])
    # Measured: 0.05 mm, and 0.86 where the rig does not state the offset.
    assert found[OFFSET_S] < 0.15 < 0.6 < found[0.0]
