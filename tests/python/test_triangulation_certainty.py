"""Poses from predicted landmarks: which of them count, and how sure a pose is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fluoropose.geometry import Pose
from fluoropose.registration.registration import Failure
from fluoropose.registration.triangulation import Loss, triangulate
from fluoropose.rig import CircularField, Fluoroscope, Rig
from triangulation_scene import (
    PAIRS,
    PITCH_MM,
    distance,
    exchange,
    make_head,
    make_rig,
    predict,
    random_pose,
    scene,
)

# --- what is visible --------------------------------------------------------------------------------------------------


def test_visible_is_what_is_predicted_inside_the_image_the_field_and_the_mask() -> None:
    _, rig, landmarks, _, predicted = scene(11)
    small = Rig((Fluoroscope(rig.views[0], field=CircularField(380, 390, 120)), rig.fluoroscopes[1]))
    mask = np.zeros((768, 768), bool)
    mask[:, :400] = True
    predicted[1][4] = [900, 300]
    predicted[1][5] = [-0.4, 300]
    predicted[1][6] = np.nan
    found = triangulate(landmarks, predicted, small, bone_masks=[None, mask])
    in_field = np.hypot(predicted[0][:, 0] - 380, predicted[0][:, 1] - 390) <= 120
    on_mask = (np.rint(predicted[1][:, 0]) >= 0) & (np.rint(predicted[1][:, 0]) < 400)
    on_mask[[4, 6]] = False
    assert on_mask[5]
    assert 3 < in_field.sum() < 33
    np.testing.assert_array_equal(found.visible, [in_field, on_mask])
    np.testing.assert_array_equal(np.isfinite(found.residuals_mm[..., 0]), np.tile(in_field & on_mask, (2, 1)))
    assert found.n_visible == (in_field & on_mask).sum()


def test_all_visible_predictions_can_be_used() -> None:
    _, rig, landmarks, truth, predicted = scene(12)
    predicted[0][:16] = np.nan
    predicted[1][16:] = np.nan
    assert triangulate(landmarks, predicted, rig).failure is Failure.TOO_FEW_POINTS
    found = triangulate(landmarks, predicted, rig, use="all")
    assert found.n_visible == 33
    assert np.isfinite(found.residuals_mm[0, :, 0]).tolist() == [False] * 16 + [True] * 17
    apart = distance(found.world_from_bone, truth)
    assert apart.deg < 3
    assert apart.mm < 5


def test_a_weight_counts_like_so_many_landmarks() -> None:
    rng, rig, landmarks, _, predicted = scene(13)
    weights = rng.integers(0, 3, 33).astype(float)
    again = np.repeat(np.arange(33), weights.astype(int))
    weighted = triangulate(landmarks, predicted, rig, weights=weights, loss="squared")
    repeated = triangulate(landmarks[again], [p[again] for p in predicted], rig, loss="squared")
    assert repeated.world_from_bone is not None
    assert distance(weighted.world_from_bone, repeated.world_from_bone).mm < 1e-6
    assert weighted.cost == pytest.approx(repeated.cost, rel=1e-9)
    assert weighted.n_visible == np.count_nonzero(weights)


def test_weights_are_exchanged_with_their_predictions() -> None:
    rng, rig, landmarks, truth, predicted = scene(14)
    weights = rng.uniform(0.1, 1, (2, 33))
    straight = triangulate(landmarks, predicted, rig, PAIRS, weights=weights)
    flipped_weights = np.array(exchange([w[:, None] for w in weights], (True, False)))[..., 0]
    flipped = triangulate(landmarks, exchange(predicted, (True, False)), rig, PAIRS, weights=flipped_weights)
    assert straight.world_from_bone is not None
    assert distance(straight.world_from_bone, truth).deg < 2
    assert distance(flipped.world_from_bone, straight.world_from_bone).mm < 1e-6
    assert flipped.mirrored == (True, False)


# --- how sure it is ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "noise_mm"),
    [
        ("norm", (1.0, 1.0)),
        ("norm", (0.5, 2.0)),
        ("norm", (1.0,)),
        ("squared", (1.0, 1.0)),
        ("huber", (1.0, 1.0)),
        ("cauchy", (1.0, 1.0)),
    ],
)
def test_the_covariance_covers_the_truth_as_often_as_it_says(loss: Loss, noise_mm: tuple[float, ...]) -> None:
    rng, rig = np.random.default_rng(15), make_rig(len(noise_mm))
    landmarks = make_head(rng)
    trials, inside, within_one_sd = 2000, 0, np.zeros(6)
    # The noise is estimated too: the squared distance is distributed as six times F.
    limit = 6 * stats.f.ppf(0.95, 6, 2 * 33 * len(noise_mm) - 6)
    for _ in range(trials):
        truth = random_pose(rng)
        predicted = [
            pixels + rng.normal(0, sd, (33, 2)) / PITCH_MM
            for pixels, sd in zip(predict(rig, truth, landmarks, rng), noise_mm, strict=True)
        ]
        found = triangulate(landmarks, predicted, rig, start=truth, loss=loss)
        assert found.world_from_bone is not None
        assert found.covariance is not None
        omega = Pose(truth.rotation @ found.world_from_bone.rotation.T, np.zeros(3)).rotation_vector
        error = np.r_[omega, truth.translation_mm - found.world_from_bone.translation_mm]
        inside += error @ np.linalg.solve(found.covariance, error) <= limit
        within_one_sd += np.abs(error) <= np.sqrt(np.diag(found.covariance))
    # Measured: 93.8 to 94.8 % of all, 65.6 to 70.1 % of each parameter; 2,000 trials scatter by 0.5 and 1 %.
    assert 0.925 <= inside / trials <= 0.965
    np.testing.assert_allclose(within_one_sd / trials, 0.683, atol=0.04)


def test_covariance_grows_with_the_square_of_the_noise() -> None:
    rng, rig = np.random.default_rng(16), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    exact, noisy = predict(rig, truth, landmarks, rng), predict(rig, truth, landmarks, rng, noise_mm=1e-3)
    double = [e + 2 * (p - e) for e, p in zip(exact, noisy, strict=True)]
    once = triangulate(landmarks, noisy, rig).covariance
    twice = triangulate(landmarks, double, rig).covariance
    assert once is not None
    assert twice is not None
    np.testing.assert_allclose(twice / once, 4, rtol=1e-3)


def test_no_covariance_without_spare_observations() -> None:
    # Four landmarks in one view are eight observations: two to spare. Three in two views are twelve.
    rng = np.random.default_rng(17)
    landmarks, truth = make_head(rng)[:4], random_pose(rng)
    one, two = make_rig(1), make_rig(2)
    assert triangulate(landmarks, predict(one, truth, landmarks, rng, 0.1), one, start=truth).covariance is not None
    predicted = predict(two, truth, landmarks[:3], rng, 0.1)
    assert triangulate(landmarks[:3], predicted, two).covariance is not None
    single = triangulate(landmarks[:3], predict(one, truth, landmarks[:3], rng), one)
    assert single.covariance is None
