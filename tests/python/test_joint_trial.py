"""Joints from the poses of two bones: files, the command, the tracker, and how errors of the poses carry over."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.joint import Joint, JointMotion, anatomical_frame
from fluoropose.registration import sight as sight_module
from fluoropose.registration.joint_trial import COLUMNS, joint_rows, write_joint
from fluoropose.registration.poses_file import PoseRow, write_poses
from fluoropose.registration.registration import Status
from fluoropose.tracking import Tracker
from fluoropose.tracking.joint_tracker import JointTracker
from knowing_network import FRAME, TRUTH, KnowingNetwork, make_bone, make_rig
from strategies import poses

# Anatomical frames that are neither each other nor the bones' own.
FEMUR = anatomical_frame([40, 3, -5], [-38, 1, -4], [2, 0, 60], [1, 2, -3])
TIBIA = anatomical_frame([35, -2, 12], [-36, 0, 10], [0, 1, 14], [3, -4, -50])
KNEE = Joint(FEMUR, TIBIA, "right")


def bent(flexion_deg: float, world_from_femur: Pose) -> Pose:
    """The tibia of a knee that is bent and nothing else, its anatomical origin at the femur's."""
    bend = Pose.exp([-np.radians(flexion_deg), 0, 0], [0, 0, 0])
    return world_from_femur * FEMUR * bend * TIBIA.inverse()


@settings(max_examples=30)
@given(poses())
def test_a_bent_knee_is_bent_wherever_it_is(world_from_femur: Pose) -> None:
    motion = KNEE.motion(world_from_femur, bent(37.0, world_from_femur))
    assert astuple(motion) == pytest.approx((37, 0, 0, 0, 0, 0), abs=1e-6)


def test_deviations_are_those_of_many_knees() -> None:
    rng = np.random.default_rng(8)
    roots = [rng.normal(size=(6, 6)) * np.repeat([0.002, 0.2], 3)[:, None] for _ in range(2)]
    covariances = [root @ root.T for root in roots]
    femur = Pose.from_euler_zyx_deg([20, -30, 50], [3, -8, -400])
    tibia = bent(50.0, femur)
    claimed = astuple(KNEE.deviations(femur, tibia, *covariances))
    drawn = []
    for _ in range(3000):
        off = [
            Pose(Pose.exp(e[:3], np.zeros(3)).rotation @ pose.rotation, pose.translation_mm + e[3:])
            for pose, e in zip((femur, tibia), (root @ rng.normal(size=6) for root in roots), strict=True)
        ]
        drawn.append(astuple(KNEE.motion(*off)))
    # 3,000 draws know a standard deviation to 1.3 %; 2.6 % is the largest of these six differences.
    np.testing.assert_allclose(np.std(drawn, axis=0), claimed, rtol=0.06)


def row(frame: int, pose: Pose | None, covariance: np.ndarray | None = None, time_s: float | None = None) -> PoseRow:
    when = frame / 30 if time_s is None else time_s
    if pose is None:
        return PoseRow.failed(frame, when, "blank")
    return PoseRow(frame, when, Status.OK, world_from_bone=pose, covariance=covariance)


def test_rows_join_frames_and_say_what_is_missing() -> None:
    femur = Pose.identity()
    proximal = [row(1, femur), row(2, None), row(3, femur), row(5, femur)]
    distal = [row(3, bent(30, femur)), row(2, femur), row(1, bent(10, femur)), row(4, femur)]
    found = joint_rows(KNEE, proximal, distal)
    assert [one.frame for one in found] == [1, 2, 3]
    assert [one.motion and round(one.motion.flexion_deg, 6) for one in found] == [10, None, 30]
    assert found[1].reason == "proximal: blank"
    assert found[0].deviations is None


def test_the_table_tells_frames_of_a_clock_that_counts_from_1970_apart(tmp_path: Path) -> None:
    femur, times_s = Pose.identity(), [1_764_333_549.123456 + k / 250 for k in range(3)]
    proximal = [row(k, femur, time_s=time_s) for k, time_s in enumerate(times_s)]
    distal = [row(k, bent(10, femur), time_s=time_s) for k, time_s in enumerate(times_s)]
    write_joint(tmp_path / "knee.csv", joint_rows(KNEE, proximal, distal))
    table = csv.DictReader((tmp_path / "knee.csv").read_text().splitlines()[1:])
    np.testing.assert_allclose([float(one["time_s"]) for one in table], times_s, rtol=0, atol=1e-5)


def test_a_pair_without_angles_does_not_cost_the_others_theirs() -> None:
    femur = Pose.identity()
    # The tibia's z axis along the femur's x axis.
    across = KNEE.proximal_from_anatomical * Pose.from_euler_zyx_deg([0, 90, 0], [0, 0, 0])
    sideways = across * KNEE.distal_from_anatomical.inverse()
    known = np.eye(6)
    proximal = [row(k, femur, known) for k in range(3)]
    distal = [row(0, bent(10, femur), known), row(1, sideways, known), row(2, bent(20, femur), known)]
    found = joint_rows(KNEE, proximal, distal)
    assert [one.motion is None for one in found] == [False, True, False]
    assert found[1].reason.endswith("no angles are defined there")
    assert found[1].deviations is None


def test_frames_that_do_not_belong_together_are_refused() -> None:
    femur = Pose.identity()
    with pytest.raises(InputError, match="no frame in common"):
        joint_rows(KNEE, [row(1, femur)], [row(2, femur)])
    with pytest.raises(InputError, match=r"frame 1: expected one time, found 0\.0333333 s and 2 s"):
        joint_rows(KNEE, [row(1, femur)], [row(1, femur, time_s=2.0)])


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def knee(tmp_path: Path) -> Path:
    bone = make_bone()
    bone.save(tmp_path / "bone.h5")
    covariance = np.diag(np.repeat([0.002, 0.2], 3) ** 2)
    femurs = [Pose.exp([0, 0, 0.1 * k], [k, 0, 0]) for k in range(6)]
    write_poses(tmp_path / "femur.csv", [row(k, pose, covariance) for k, pose in enumerate(femurs)])
    tibias = [row(k, None if k == 4 else pose, covariance) for k, pose in enumerate(femurs)]
    write_poses(tmp_path / "tibia.csv", tibias)
    # Landmarks by name and as means; then coordinates.
    (tmp_path / "knee.toml").write_text(
        'side = "left"\nout = "results/knee.csv"\n'
        '[proximal]\nbone = "bone.h5"\nposes = "femur.csv"\n'
        'right = "p0"\nleft = ["p8", "p9"]\nproximal = "p3"\ndistal = "p4"\n'
        '[distal]\nbone = "bone.h5"\nposes = "tibia.csv"\n'
        "right = [30, 0, 0]\nleft = [-30, 0, 0]\nproximal = [0, 0, 40]\ndistal = [0, 0, -40]\n"
    )
    return tmp_path / "knee.toml"


def test_the_command_writes_a_table_and_a_picture(knee: Path) -> None:
    result = CliRunner().invoke(app, ["joint", str(knee)])
    assert result.exit_code == 0, result.output
    assert "5 of 6 pairs have both bones" in result.output.replace("\n", " ")
    lines = (knee.parent / "results" / "knee.csv").read_text().splitlines()
    assert lines[0].startswith("# fluoropose-joint version 1")
    table = list(csv.DictReader(lines[1:]))
    assert tuple(table[0]) == COLUMNS
    bone = make_bone()
    at = dict(zip(bone.landmark_names, bone.landmarks_mm, strict=True))
    femur = anatomical_frame(at["p0"], (at["p8"] + at["p9"]) / 2, at["p3"], at["p4"])
    expected = Joint(femur, Pose.identity(), "left").motion(Pose.identity(), Pose.identity())
    for name, value in zip(JointMotion.__dataclass_fields__, astuple(expected), strict=True):
        assert float(table[0][name]) == pytest.approx(value, abs=1e-6)
        assert float(table[0][f"sd_{name}"]) > 0
        assert table[4][name] == ""
    assert table[4]["reason"] == "distal: blank"
    with Image.open(knee.parent / "results" / "knee.png") as picture:
        assert picture.size == (1100, 550)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"p0"', '"condyle"'), "proximal.right: expected landmarks of 'made-up bone' (p0, "),
        (("[30, 0, 0]", "[-30, 0, 0]"), "distal: right_mm, left_mm"),
        (('"left"', '"both"'), "side: "),
        (('"tibia.csv"', '"none.csv"'), "none.csv: expected a poses file, such as fluoropose register writes: No"),
        (("right = [30, 0, 0]\n", ""), "distal.right: missing"),
    ],
)
def test_wrong_joints_are_named(knee: Path, change: tuple[str, str], message: str) -> None:
    knee.write_text(knee.read_text().replace(*change))
    result = CliRunner().invoke(app, ["joint", str(knee)])
    assert result.exit_code == 2
    assert message in result.output


# --- the tracker ----------------------------------------------------------------------------------------------------


def test_both_bones_are_followed_and_one_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    bone, rig = make_bone(), make_rig()
    femur = KnowingNetwork(bone, rig, noise_px=0.2)
    tibia = KnowingNetwork(bone, rig, noise_px=0.2, seen=femur.seen)
    monkeypatch.setattr(sight_module, "crop_frame", femur.crop)
    joint = Joint(Pose.identity(), Pose.identity(), "right")
    follower = JointTracker(Tracker(bone, rig, femur, proven=False), Tracker(bone, rig, tibia, proven=False), joint)  # type: ignore[arg-type]
    for k in range(12):
        femur.truth = TRUTH
        tibia.truth = TRUTH * Pose.exp([-np.radians(2.0 * k), 0, 0], [0, 0, 0])
        found = follower.push(FRAME, FRAME, k / 30)
        assert found.motion is not None
        assert found.deviations is not None
        # Measured: 0.6 degrees at most.
        assert found.motion.flexion_deg == pytest.approx(2.0 * k, abs=1.2)
        assert 0 < found.deviations.flexion_deg < 2
    tibia.truth = TRUTH * Pose.exp([0, 0, 0], [4000, 0, 0])
    for k in range(12, 20):
        found = follower.push(FRAME, FRAME, k / 30)
    assert found.proximal.ok
    assert not found.distal.ok
    assert found.motion is None
    follower.forget()
    assert not follower.miss(1.0, "no frame").proximal.ok


class Noting(Tracker):
    """Remembers how long each pair had waited."""

    def push(self, frame1, frame2, time_s, waited_ms=0.0):  # type: ignore[no-untyped-def]
        self.waited_ms = waited_ms
        return super().push(frame1, frame2, time_s, waited_ms)


def test_two_bones_share_the_time_of_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    bone, rig = make_bone(), make_rig()
    networks = [KnowingNetwork(bone, rig)]
    networks.append(KnowingNetwork(bone, rig, seen=networks[0].seen))
    monkeypatch.setattr(sight_module, "crop_frame", networks[0].crop)
    proximal, distal = (Noting(bone, rig, network, proven=False) for network in networks)  # type: ignore[arg-type]
    follower, took_ms = JointTracker(proximal, distal, Joint(Pose.identity(), Pose.identity(), "right")), 0.0
    for k in range(3):
        found = follower.push(FRAME, FRAME, k / 30, waited_ms=5.0)
        assert proximal.waited_ms == 5.0 + took_ms
        assert distal.waited_ms == 5.0 + found.proximal.stages.total
        took_ms = found.distal.stages.total
        assert took_ms > 0


def test_a_pair_without_angles_does_not_end_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    bone, rig = make_bone(), make_rig()
    networks = [KnowingNetwork(bone, rig)]
    networks.append(KnowingNetwork(bone, rig, seen=networks[0].seen))
    monkeypatch.setattr(sight_module, "crop_frame", networks[0].crop)
    for network in networks:
        network.truth = TRUTH
    # The distal z axis along the proximal x axis, whenever the bones lie in each other.
    across = Joint(Pose.identity(), Pose.from_euler_zyx_deg([0, 90, 0], [0, 0, 0]), "right")
    trackers = [Tracker(bone, rig, network, proven=False) for network in networks]  # type: ignore[arg-type]
    found = JointTracker(*trackers, across).push(FRAME, FRAME, 0.0)
    assert found.proximal.ok
    assert found.distal.ok
    assert (found.motion, found.deviations) == (None, None)
    assert found.reason.endswith("no angles are defined there")


def test_trackers_of_two_rigs_make_no_joint() -> None:
    trackers = [
        Tracker(n.bone, n.rig, n, proven=False) for n in (KnowingNetwork(make_bone(), make_rig()) for _ in range(2))
    ]  # type: ignore[arg-type]
    with pytest.raises(InputError, match="distal: expected a tracker of the proximal tracker's rig"):
        JointTracker(*trackers, Joint(Pose.identity(), Pose.identity(), "left"))
