"""Joint angles of poses whose anatomy is plain to see, and against SciPy's angles."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.joint import Joint, JointMotion, Side, anatomical_frame, joint_motion
from strategies import poses

# x right, y forward, z up; the shank hangs down from the knee.
FEMUR = Pose.identity()
ANKLE = np.array([[0.0, 0.0, -400.0]])


def turned(axis: list[float], deg: float) -> Pose:
    return Pose.exp(np.radians(deg) * np.array(axis, dtype=float), [0, 0, 0])


def test_a_bent_knee_brings_the_ankle_back() -> None:
    tibia = turned([-1, 0, 0], 60)
    assert tibia.apply(ANKLE)[0, 1] < -300  # behind
    motion = joint_motion(FEMUR, tibia, "right")
    assert motion.flexion_deg == pytest.approx(60)
    assert motion.adduction_deg == pytest.approx(0)
    assert motion.external_rotation_deg == pytest.approx(0)
    assert joint_motion(FEMUR, turned([-1, 0, 0], 140), "left").flexion_deg == pytest.approx(140)


@pytest.mark.parametrize(("side", "towards_the_middle"), [("right", -1.0), ("left", 1.0)])
def test_adduction_brings_the_ankle_to_the_middle(side: Side, towards_the_middle: float) -> None:
    tibia = turned([0, -towards_the_middle, 0], 10)
    assert tibia.apply(ANKLE)[0, 0] * towards_the_middle > 0
    motion = joint_motion(FEMUR, tibia, side)
    assert motion.adduction_deg == pytest.approx(10)
    assert motion.flexion_deg == pytest.approx(0)


@pytest.mark.parametrize(("side", "outwards"), [("right", 1.0), ("left", -1.0)])
def test_external_rotation_turns_the_toes_outwards(side: Side, outwards: float) -> None:
    tibia = turned([0, 0, -outwards], 15)
    assert tibia.apply([[0.0, 200.0, 0.0]])[0, 0] * outwards > 0  # the toes, right of the middle on the right side
    motion = joint_motion(FEMUR, tibia, side)
    assert motion.external_rotation_deg == pytest.approx(15)


def test_translations_are_lateral_anterior_and_apart() -> None:
    tibia = Pose(np.eye(3), np.array([3.0, 5.0, -7.0]))
    right, left = joint_motion(FEMUR, tibia, "right"), joint_motion(FEMUR, tibia, "left")
    assert (right.lateral_mm, right.anterior_mm, right.distraction_mm) == pytest.approx((3, 5, 7))
    assert (left.lateral_mm, left.anterior_mm, left.distraction_mm) == pytest.approx((-3, 5, 7))


@given(poses(), st.floats(-150, 150), st.floats(-80, 80), st.floats(-150, 150))
def test_the_angles_are_a_cardan_sequence_and_do_not_depend_on_the_world(
    world: Pose, flexion: float, adduction: float, external: float
) -> None:
    # About the proximal x, then the floating y, then the distal z axis.
    rotation = Rotation.from_euler("XYZ", [-flexion, adduction, -external], degrees=True).as_matrix()
    motion = joint_motion(world, world * Pose(rotation, np.zeros(3)), "right")
    found = [motion.flexion_deg, motion.adduction_deg, motion.external_rotation_deg]
    np.testing.assert_allclose(found, [flexion, adduction, external], atol=1e-5)


@given(poses(), poses())
def test_the_other_side_is_the_mirror_image(proximal: Pose, distal: Pose) -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])

    def mirrored(pose: Pose) -> Pose:
        return Pose(mirror @ pose.rotation @ mirror, mirror @ pose.translation_mm)

    right, left = joint_motion(proximal, distal, "right"), joint_motion(mirrored(proximal), mirrored(distal), "left")
    for name in ("flexion_deg", "adduction_deg", "external_rotation_deg"):
        difference = getattr(right, name) - getattr(left, name)
        assert abs((difference + 180) % 360 - 180) < 1e-4
    for name in ("lateral_mm", "anterior_mm", "distraction_mm"):
        assert getattr(right, name) == pytest.approx(getattr(left, name), abs=1e-6)


def test_a_frame_lies_as_its_landmarks_say() -> None:
    frame = anatomical_frame([40.0, 2, 10], [-40.0, -2, -10], [0.0, 0, 300], [0.0, 0, -50])
    np.testing.assert_allclose(frame.translation_mm, 0, atol=1e-12)
    np.testing.assert_allclose(frame.rotation[:, 2], [0, 0, 1])
    x = np.array([40, 2, 0]) / np.hypot(40, 2)
    np.testing.assert_allclose(frame.rotation[:, 0], x)
    np.testing.assert_allclose(frame.rotation[:, 1], [-x[1], x[0], 0])


@given(poses())
def test_a_frame_moves_with_its_bone(pose: Pose) -> None:
    points = np.array([[40.0, 2, 10], [-40, -3, -10], [5, 0, 300], [0, 3, -50]])
    moved = anatomical_frame(*pose.apply(points))
    np.testing.assert_allclose(moved.matrix, (pose * anatomical_frame(*points)).matrix, atol=1e-6)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match='side: expected "right" or "left", found \'both\''):
        joint_motion(FEMUR, FEMUR, "both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no angles are defined"):
        joint_motion(FEMUR, turned([0, 1, 0], 90), "right")
    with pytest.raises(InputError, match="distinct points"):
        anatomical_frame([0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0])
    with pytest.raises(InputError, match="not parallel"):
        anatomical_frame([0, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0])


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(st.floats(-170, 170), st.floats(-80, 80), st.floats(-170, 170)),
    offsets=st.tuples(*(st.floats(-50, 50) for _ in range(3))),
    side=st.sampled_from(["right", "left"]),
    seed=st.integers(0, 99),
)
def test_a_described_motion_gives_its_pose_back(
    angles: tuple[float, ...], offsets: tuple[float, ...], side: Side, seed: int
) -> None:
    motion = JointMotion(*angles, *offsets)
    proximal = Pose(Rotation.random(rng=np.random.default_rng(seed)).as_matrix(), np.array([3.0, -4.0, 5.0]))
    found = joint_motion(proximal, proximal * motion.proximal_from_distal(side), side)
    assert astuple(found) == pytest.approx(astuple(motion), abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), adduction=st.floats(-60, 60), side=st.sampled_from(["right", "left"]))
def test_derivatives_are_those_of_the_motion(seed: int, adduction: float, side: Side) -> None:
    rng = np.random.default_rng(seed)
    frames = [Pose(Rotation.random(rng=rng).as_matrix(), rng.normal(0, 40, 3)) for _ in range(3)]
    joint = Joint(frames[1], frames[2], side)
    motion = JointMotion(*rng.uniform(-150, 150, 1), adduction, *rng.uniform(-150, 150, 1), *rng.normal(0, 20, 3))
    poses = [frames[0], frames[0] * frames[1] * motion.proximal_from_distal(side) * frames[2].inverse()]
    found, step = joint.derivatives(poses[0], poses[1]), 1e-6
    for bone, axis in np.ndindex(2, 6):
        ends = []
        for sign in (-1, 1):
            error = np.zeros(6)
            error[axis] = sign * step
            turn = Pose.exp(error[:3], np.zeros(3)).rotation
            moved = poses.copy()
            moved[bone] = Pose(turn @ poses[bone].rotation, poses[bone].translation_mm + error[3:])
            ends.append(np.array(astuple(joint.motion(moved[0], moved[1]))))
        change = ends[1] - ends[0]
        change[:3] = (change[:3] + 180) % 360 - 180
        # Measured: 2e-7 of the largest slope, from the step.
        np.testing.assert_allclose(found[bone, :, axis], change / (2 * step), atol=1e-5 * np.abs(found).max())


def test_refuses_motions_that_define_no_pose() -> None:
    with pytest.raises(InputError, match="side"):
        JointMotion(0, 0, 0, 0, 0, 0).proximal_from_distal("both")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="adduction_deg"):
        JointMotion(0, 90, 0, 0, 0, 0).proximal_from_distal("left")
