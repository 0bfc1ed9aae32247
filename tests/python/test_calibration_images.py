"""Calibration images: the field, beads, the plate's grid and distortion, on simulated images with known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from fluoropose.calibration.beads import BeadImage, find_beads, measure_bead
from fluoropose.calibration.field import find_field
from fluoropose.calibration.grid import match_grid
from fluoropose.calibration.plate import PlateCalibration, calibrate_plate, fit_plate
from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import CircularField
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp
from fluoropose.simulate.plate import Plate


def disc(size: int, u: float, v: float, radius: float) -> NDArray[np.float64]:
    vv, uu = np.mgrid[:size, :size]
    edge = 1 / (1 + np.exp((np.hypot(uu - u, vv - v) - radius) / 0.7))
    shading = 1 - 0.3 * ((uu - 120) ** 2 + (vv - 90) ** 2) / size**2
    return np.asarray(0.02 + edge * shading)


@pytest.mark.parametrize("place", [(128.3, 126.9, 110.4), (120.2, 140.0, 135.0), (90.0, 128.0, 150.0)])
def test_the_field_is_found_even_where_the_image_cuts_it(place: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    field = find_field(disc(256, *place) + rng.normal(0, 0.01, (256, 256)))
    assert field is not None
    # Measured 0.02 px for the whole circle, 0.09 px for the one that is cut most.
    assert np.abs(np.array([field.u, field.v, field.radius]) - place).max() < 0.15


def test_a_field_without_a_rim_or_without_a_circle() -> None:
    rng = np.random.default_rng(0)
    assert find_field(1 + rng.normal(0, 0.01, (200, 200))) is None
    square = np.full((200, 200), 0.02)
    square[30:170, 40:160] = 1
    with pytest.raises(InputError, match="round field"):
        find_field(square)
    with pytest.raises(InputError, match="without contrast"):
        find_field(np.zeros((100, 100)))
    with pytest.raises(InputError, match="shape"):
        find_field(np.zeros((10, 10, 3)))


def rods_and_bead(u: float, v: float, radius: float, rng: np.random.Generator) -> BeadImage:
    """Render a sharp bead where rods of different strength end, then blur it and add noise."""
    size, fine = 81, 5
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / fine - 0.5
    x, y = x - u, y - v
    image = 1 - 0.004 * x + 0.002 * y
    for angle, shadow in zip(rng.uniform(0, 2 * np.pi, 3), (0.25, 0.15, 0.2), strict=True):
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        inside = (along > 0) & (np.abs(across) < 7)
        image[inside] *= 1 - shadow * np.sqrt(1 - (across[inside] / 7) ** 2)
    image[np.hypot(x, y) < radius] = 0.25
    image = ndimage.gaussian_filter(image, 1.0 * fine)
    image = image.reshape(size, fine, size, fine).mean(axis=(1, 3)) + rng.normal(0, 0.005, (size, size))
    return BeadImage(image, np.ones((size, size), dtype=bool))


def test_bead_centres_are_right_where_rods_make_the_background_uneven() -> None:
    rng = np.random.default_rng(3)
    even, uneven = [], []
    for _ in range(30):
        u, v, radius = *rng.uniform(36, 44, 2), rng.uniform(5, 11)
        image = rods_and_bead(u, v, radius, rng)
        for harmonics, errors in ((0, even), (4, uneven)):
            bead = measure_bead(image, u + 0.4, v - 0.4, radius * 1.1, harmonics)
            assert bead is not None
            errors.append(np.hypot(bead.u - u, bead.v - v))
    # Measured 0.031 px RMS with the background's harmonics; 0.83 px without them.
    assert np.sqrt(np.mean(np.square(uneven))) < 0.04
    assert np.sqrt(np.mean(np.square(even))) > 5 * np.sqrt(np.mean(np.square(uneven)))


def test_rods_are_no_beads_and_cut_beads_are_not_measured() -> None:
    rng = np.random.default_rng(1)
    image = rods_and_bead(40.0, 40.0, 7.0, rng)
    found = find_beads(image, 0.35)
    assert len(found) == 1
    assert np.abs(found[0] - [40, 40, 7]).max() < 1.0
    inside = image.inside.copy()
    inside[:, 44:] = False
    cut = BeadImage(np.where(inside, image.relative, np.nan), inside)
    assert measure_bead(cut, 40.0, 40.0, 7.0, 0) is None


@settings(max_examples=25, deadline=None)
@given(
    turn_deg=st.floats(-30, 30),
    pincushion=st.floats(-0.08, 0.12),
    missing=st.floats(0, 0.15),
    seed=st.integers(0, 2**16),
)
def test_beads_find_their_place_on_a_distorted_grid(
    turn_deg: float, pincushion: float, missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(np.arange(-12, 13), np.arange(-12, 13)), axis=-1).reshape(-1, 2)
    index = index[(np.hypot(*index.T) < 12) & (rng.uniform(size=len(index)) >= missing)]
    turn = np.radians(turn_deg)
    c, s = np.cos(turn), np.sin(turn)
    plane = index @ np.array([[c, s], [-s, c]])
    seen = 25 * plane * (1 + pincushion * (plane**2).sum(axis=1, keepdims=True) / 144) + 400
    seen += rng.normal(0, 0.3, seen.shape)
    stray = rng.uniform(150, 650, (5, 2))
    stray = stray[[np.linalg.norm(seen - p, axis=1).min() > 8 for p in stray]]
    matched = match_grid(np.vstack([seen, stray]))[: len(seen)]
    assert matched[:, 2].mean() > 0.97  # a bead with few neighbours left may stay alone
    shift = (matched[:, :2] - index)[matched[:, 2] == 1]
    assert (shift == shift[0]).all()


def test_beads_that_form_no_grid_are_refused() -> None:
    with pytest.raises(InputError, match="at least 9"):
        match_grid(np.zeros((3, 2)))
    line = np.column_stack([np.arange(0, 300, 10.0), np.zeros(30)])
    with pytest.raises(InputError, match="square grid"):
        match_grid(line)


def machine(size: int = 420, pitch: float = 0.4, **chain: float) -> SimulatedFluoroscope:
    view = View.from_sdd((size, size), 1100.0, pitch, pitch, 2.0, -3.0)
    warp = IntensifierWarp(0.44 * size * pitch, screen_half_angle_deg=20.0, turn_deg=2.0, shift_mm=(0.8, -0.5))
    return SimulatedFluoroscope(view, warp, ImageChain(**chain))


PLATE = Plate(turn_deg=2.3, offset_mm=(2.1, -3.4), missing=((1, 1), (-3, 2), (4, -5), (4, -4)))
CHAIN = {"vignetting": 0.3, "blur_mm": 0.35, "gamma": 0.6, "electronic_noise": 0.004, "scatter_share": 0.015}


def exposures(device: SimulatedFluoroscope, plate: Plate) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    exposure = Exposure(open_field=0.85, quanta=3000.0)
    nothing = np.zeros((device.view.height, device.view.width), dtype=np.float32)
    images = (nothing, plate.line_integral(device))
    flat, seen = (device.record(image, exposure, rng) / 255.0 for image in images)
    return flat, seen


def miss_px(plate: PlateCalibration, device: SimulatedFluoroscope, radius_mm: float) -> NDArray[np.float64]:
    """Return by how much undistorted points miss the truth, ideal pixels; scale is compared, the motion is not."""
    rng = np.random.default_rng(0)
    true = rng.uniform(-radius_mm, radius_mm, (5000, 2))
    true = true[np.hypot(*true.T) < radius_mm]
    found = plate.distortion.ideal_from_recorded(device.recorded_from_plane(true)) * plate.pitch_mm
    a, b = (x[:, 0] + 1j * x[:, 1] for x in (true - true.mean(axis=0), found - found.mean(axis=0)))
    turn = np.vdot(a, b) / abs(np.vdot(a, b))
    return np.asarray(abs(b - turn * a) / plate.pitch_mm)


@pytest.mark.parametrize("with_flat", [True, False])
def test_a_plate_gives_distortion_and_pixel_size(with_flat: bool) -> None:
    device = machine(**CHAIN)
    flat, image = exposures(device, PLATE)
    field = find_field(flat)
    assert field is not None
    plate = calibrate_plate(image, 10.0, 5, flat if with_flat else None, field)
    # Measured 0.038 px with a flat-field image, 0.049 px without; against the truth 0.019 and 0.023 px.
    assert plate.leave_out_rms_px < 0.06
    assert np.sqrt(np.mean(miss_px(plate, device, 0.95 * device.warp.radius_mm) ** 2)) < 0.03
    inside = CircularField(field.u, field.v, 0.95 * field.radius)
    v, u = np.mgrid[:420:7, :420:7]
    pixels = np.column_stack([u.ravel(), v.ravel()]).astype(np.float64)
    pixels = pixels[inside.contains(pixels)]
    there_and_back = plate.distortion.recorded_from_ideal(plate.distortion.ideal_from_recorded(pixels))
    assert np.abs(there_and_back - pixels).max() < 1e-6
    # The larger bead is the origin, and the beads that fell out were not found.
    places = {tuple(place) for place in plate.index.tolist()}
    assert (0, 0) in places
    assert places.isdisjoint(PLATE.missing)
    beads = PLATE.beads(device.warp.radius_mm)
    assert places <= {tuple(place) for place in beads.index.tolist()}
    assert len(places) > 0.88 * len(beads.index)


@pytest.mark.parametrize("exposure", [0.3, 3.0])
def test_a_flat_field_image_may_be_of_another_exposure(exposure: float) -> None:
    device = machine(**CHAIN)
    flat, image = exposures(device, PLATE)
    same, other = (calibrate_plate(image, 10.0, 5, flat * gain, find_field(flat)) for gain in (1.0, exposure))
    assert len(other.index) > 0.97 * len(same.index)
    assert other.pitch_mm == pytest.approx(same.pitch_mm, rel=1e-3)  # measured 3e-4


def test_a_higher_order_is_chosen_where_it_helps() -> None:
    device = machine(**CHAIN)
    flat, image = exposures(device, PLATE)
    field = find_field(flat)
    fifth = calibrate_plate(image, 10.0, 5, flat, field)
    chosen = calibrate_plate(image, 10.0, None, flat, field)
    assert chosen.leave_out_rms_px <= fifth.leave_out_rms_px
    errors = dict(chosen.leave_out_by_order)
    assert errors[chosen.distortion.order] <= 1.02 * min(errors.values())


def test_a_part_of_a_field_is_enough() -> None:
    device = machine(**CHAIN)
    flat, image = exposures(device, PLATE)
    cut = image[:, :300], flat[:, :300]
    field = find_field(cut[1])
    plate = calibrate_plate(cut[0], 10.0, 5, cut[1], field)
    assert plate.size_px == (300, 420)
    assert plate.leave_out_rms_px < 0.06
    # The recorded field, as far as the image shows it, fits into the ideal image.
    recorded = plate.recorded_px
    ideal = plate.distortion.ideal_from_recorded(recorded)
    assert ((ideal > -0.5) & (ideal < np.array(plate.size_px) - 0.5)).all()


def test_mismatched_beads_are_rejected() -> None:
    device = machine()
    beads = PLATE.beads(0.95 * device.warp.radius_mm)
    recorded = device.recorded_from_plane(beads.plane_mm)
    recorded += np.random.default_rng(0).normal(0, 0.02, recorded.shape)
    wrong = [3, 50, 90]
    recorded[wrong] += [[4.0, 0.0], [0.0, -3.0], [2.0, 2.0]]
    plate = fit_plate(recorded, beads.index, 10.0, (420, 420), 7)
    assert plate.rejected == len(wrong)
    assert np.sqrt(np.mean(miss_px(plate, device, 0.9 * device.warp.radius_mm) ** 2)) < 0.02


def test_images_without_a_plate_are_refused() -> None:
    device = machine(**CHAIN)
    flat, image = exposures(device, PLATE)
    field = find_field(flat)
    with pytest.raises(InputError, match="beads of a plate"):
        calibrate_plate(flat, 10.0, 5, flat, field)
    with pytest.raises(InputError, match="flat"):
        calibrate_plate(image, 10.0, 5, flat[:-1], field)
    with pytest.raises(InputError, match="spacing_mm"):
        calibrate_plate(image, -1.0, 5, flat, field)
    few = replace(PLATE, spacing_mm=30.0)
    with pytest.raises(InputError, match="at least 66 beads"):
        calibrate_plate(exposures(device, few)[1], 30.0, 10, flat, field)


def test_a_field_that_a_wide_image_cuts_is_found_without_warnings() -> None:
    field = find_field(disc(1000, 500.0, 500.0, 480.0)[300:700])
    assert field is not None
    # Measured 0.16 px, by the shading.
    assert np.abs(np.array([field.u, field.v, field.radius]) - (500.0, 200.0, 480.0)).max() < 0.25
