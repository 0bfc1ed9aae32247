"""Renderers against float64 references and against what is known in closed form."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from drr_reference import Floats, joseph_sums, line_integrals, pixel_rays, trilinear
from drr_scenes import POSES, affine, blobs, noise, oblique_view, pixels
from fluoropose import _core
from fluoropose.drr import Method, Renderer, device_beside
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

METHODS: list[Method] = ["ray_cast", "shear_warp"]
BEAMS = ["point", "parallel"]
VOLUMES = {
    "isotropic": Volume(noise(), affine((1, 1, 1), (19, 17, 23))),
    "turned": Volume(noise(), affine((0.8, 1.7, 1.2), (19, 17, 23), (0.3, -0.2, 0.5))),
    "mirrored": Volume(noise(), affine((1.1, -0.9, 1.4), (19, 17, 23))),
    "one slice": Volume(noise((1, 17, 23)), affine((1, 1, 3), (1, 17, 23))),
}


def parallel_view(direction: list[float], u: list[float], v: list[float], size: int = 21) -> View:
    step_u, step_v, beam = np.array(u, float), np.array(v, float), np.array(direction, float)
    origin = 50 * beam - (size - 1) / 2 * (step_u + step_v)
    return View(size, size, origin, step_u, step_v, beam, "parallel")


def test_reference_agrees_with_dense_sampling() -> None:
    # The judge is judged by plain midpoint sums at 1/200 voxel, whose error shrinks with the step squared.
    volume, view = VOLUMES["turned"], oblique_view()
    some = pixels(view)[::97]
    start, direction = pixel_rays(view, POSES[4], some)
    t = (np.arange(60_000) + 0.5) / 60_000 * 1.3
    points = (start[:, None] + t[:, None] * direction[:, None]).reshape(-1, 3)
    values = trilinear(volume.mu.astype(float), volume.bone_to_voxel(points)).reshape(len(some), -1)
    dense = values.sum(axis=1) * 1.3 / 60_000 * np.linalg.norm(direction, axis=1)
    np.testing.assert_allclose(line_integrals(volume, view, POSES[4], some), dense, atol=1e-6)
    assert dense.max() > 0.3


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("name", VOLUMES)
def test_ray_cast_is_josephs_method(name: str, beam: str) -> None:
    volume, view = VOLUMES[name], oblique_view(beam)
    for pose in POSES:
        expected = joseph_sums(volume, view, pose, pixels(view)[::7])
        found = Renderer(volume).render(view, pose).ravel()[::7]
        # Single precision; 2e-6 was measured. A noise volume shows every misplaced sample.
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert expected.max() > 0.03


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", METHODS)
def test_smooth_volume_against_the_exact_integral(method: Method, beam: str) -> None:
    shape = (52, 48, 56)
    volume = Volume(blobs(shape), affine((1.0, 0.8, 1.3), shape, (0.2, 0.1, -0.3)))
    view = oblique_view(beam, (45, 37), 1.2)
    for pose in POSES:
        expected = line_integrals(volume, view, pose, pixels(view))
        error = Renderer(volume, method).render(view, pose).ravel() - expected
        # RMS, share of the range. Measured: ray_cast up to 0.03 %, shear_warp up to 0.05 %.
        assert np.sqrt((error**2).mean()) / np.ptp(expected) < {"ray_cast": 0.0005, "shear_warp": 0.001}[method]


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", METHODS)
def test_small_blob_lands_where_the_view_projects_it(method: Method, beam: str) -> None:
    mu = np.zeros((15, 15, 15))
    mu[11, 4, 9] = 1
    mu = gaussian_filter(mu, 1.0, truncate=3)
    volume = Volume((0.05 * mu / mu.max()).astype(np.float32), affine((1.2, -1.2, 1.2), mu.shape))
    view = oblique_view(beam, (121, 121), 0.35)
    renderer = Renderer(volume, method)
    centre = volume.voxel_to_bone(np.array([[9, 4, 11]]))
    for pose in POSES:
        seen = renderer.render(view, pose).ravel()
        centroid = seen @ pixels(view) / seen.sum()
        # 0.03 px was measured with ray casting, of perspective within the blob, and 0.08 px with shear-warp.
        np.testing.assert_allclose(centroid, view.project(pose.apply(centre))[0], atol=0.12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_rays_along_an_axis_sum_its_voxels(method: Method, axis: int, sign: int) -> None:
    # Shear-warp's own grid lies between the voxels: noise would differ, and a smooth volume does, by 1 % of the range.
    mu = noise((33, 33, 33)) if method == "ray_cast" else blobs((33, 33, 33), 2.5)
    volume = Volume(mu, affine((1, -1, 1), mu.shape))
    direction, u, v = (np.roll(np.eye(3)[0], axis + n).tolist() for n in range(3))
    view = parallel_view([sign * x for x in direction], u, v, 33)
    # Line up voxel axes (z, y, x; y mirrored) with (v, u).
    sums = np.flip(mu, 1).sum(axis=2 - axis)
    expected = {0: sums, 1: sums.T, 2: sums}[axis]
    image = Renderer(volume, method).render(view, Pose.identity())
    np.testing.assert_allclose(image, expected, atol=1e-5 if method == "ray_cast" else 0.02 * float(expected.max()))


def test_rays_that_graze_faces_and_edges() -> None:
    # A cube of 8 voxels a side: beyond its outermost centres at +-3.5 mm attenuation falls to zero within one voxel.
    volume = Volume(np.full((8, 8, 8), 0.1, np.float32), affine((1, 1, 1), (8, 8, 8)))
    view = parallel_view([0, 0, 1], [0.5, 0, 0], [0, 0.5, 0], 19)
    ramp = np.clip(4.5 - np.abs(np.arange(-4.5, 4.6, 0.5)), 0, 1)
    image = Renderer(volume).render(view, Pose.identity())
    np.testing.assert_allclose(image, 0.8 * np.outer(ramp, ramp), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_ellipsoid_has_its_chords(method: Method) -> None:
    axes = np.array([17.0, 12.0, 21.0])
    shape = (60, 56, 52)
    grid = affine((0.9, 1.0, 0.8), shape)
    z, y, x = np.indices(shape)
    inside = np.zeros(shape)
    offsets = (np.arange(4) + 0.5) / 4 - 0.5  # partial volumes, 64 points in each voxel
    for dz in offsets:
        for dy in offsets:
            for dx in offsets:
                p = np.stack([x + dx, y + dy, z + dz], axis=-1) @ grid[:3, :3].T + grid[:3, 3]
                inside += ((p / axes) ** 2).sum(axis=-1) < 1
    volume = Volume((0.03 * inside / 64).astype(np.float32), grid)
    view = oblique_view("point", (51, 51), 1.5)
    for pose in POSES:
        o, d = pixel_rays(view, pose, pixels(view))
        a, b, c = (((d / axes) ** 2).sum(1), (o * d / axes**2).sum(1), ((o / axes) ** 2).sum(1) - 1)
        chord = 2 * np.sqrt(np.clip(b**2 - a * c, 0, None)) / a * np.linalg.norm(d, axis=1)
        error = Renderer(volume, method).render(view, pose).ravel() - 0.03 * chord
        # RMS, share of the range: 1.2 % was measured, at the edge, where chords fall steeper than voxels can.
        assert np.sqrt((error**2).mean()) < 0.015 * 0.03 * chord.max()


@pytest.mark.parametrize("method", METHODS)
def test_turned_box_has_its_chords(method: Method) -> None:
    # 20 x 24 x 16 voxels; linear interpolation to the rim makes each side longer by one voxel, in the mean.
    volume = Volume(np.full((16, 24, 20), 0.02, np.float32), affine((1, 1, 1), (16, 24, 20)))
    half = np.array([20, 24, 16]) / 2
    view = oblique_view("point", (61, 61), 1.0)
    for pose in POSES:
        o, d = pixel_rays(view, pose, pixels(view))
        d = np.where(d == 0, 1e-12, d)
        ends = np.sort(np.stack([(-half - o) / d, (half - o) / d]), axis=0)
        chord = np.clip(ends[1].min(axis=1) - ends[0].max(axis=1), 0, None) * np.linalg.norm(d, axis=1)
        error = Renderer(volume, method).render(view, pose).ravel() - 0.02 * chord
        # 1.9 % RMS was measured where faces are seen edge-on, because there the box jumps and interpolation ramps; and
        # 0.2 % of the whole.
        assert np.sqrt((error**2).mean()) < 0.03 * 0.02 * chord.max()
        assert abs(error.sum()) < 0.004 * 0.02 * chord.sum()


@pytest.mark.parametrize("method", METHODS)
def test_source_within_the_volume_sees_only_what_lies_ahead(method: Method) -> None:
    shape = (52, 48, 56)
    volume = Volume(blobs(shape), affine((1, 1, 1), shape))
    base = oblique_view("point", (33, 29), 2.0)
    for source in ([0.3, -0.2, 0.4], [5.0, 3.0, -24.0], [10.0, 0.0, 20.0], [-60.0, 2.0, 3.0]):
        view = View(33, 29, base.origin, base.u_step, base.v_step, np.array(source))
        expected = line_integrals(volume, view, POSES[4], pixels(view))
        error = Renderer(volume, method).render(view, POSES[4]).ravel() - expected
        # A ray that starts between two slices counts whole slices: up to half a step of at most 0.05 1/mm.
        assert np.abs(error).max() < 0.04
    renderer = Renderer(volume, method)
    behind = View(33, 29, base.origin, base.u_step, base.v_step, np.array([0.0, 0.0, 50.0]))
    assert not renderer.render(behind, Pose.identity()).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_size_of_the_voxels_does_not_matter(method: Method, scale: float) -> None:
    volume, view = VOLUMES["turned"], oblique_view()
    grown = volume.bone_from_voxel.copy()
    grown[:3] *= scale
    far = View(41, 31, view.origin * scale, view.u_step * scale, view.v_step * scale, view.source * scale)
    pose = Pose(POSES[4].rotation, POSES[4].translation_mm * scale)
    image = Renderer(Volume(volume.mu, grown), method).render(far, pose) / scale
    np.testing.assert_allclose(image, Renderer(volume, method).render(view, POSES[4]), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_very_unequal_voxels(method: Method) -> None:
    shape = (20, 60, 56)
    volume = Volume(blobs(shape, 2.0), affine((0.5, 0.5, 4.0), shape))
    view = oblique_view("point", (41, 41), 1.5)
    for pose in POSES:
        expected = line_integrals(volume, view, pose, pixels(view))
        error = Renderer(volume, method).render(view, pose).ravel() - expected
        # Measured: ray_cast up to 0.05 %, shear_warp up to 0.27 %.
        assert np.sqrt((error**2).mean()) / np.ptp(expected) < {"ray_cast": 0.001, "shear_warp": 0.005}[method]


@pytest.mark.parametrize("method", METHODS)
def test_empty_volume_is_black(method: Method) -> None:
    renderer = Renderer(Volume(np.zeros((3, 4, 5), np.float32), np.eye(4)), method)
    for beam in BEAMS:
        image = renderer.render(oblique_view(beam), POSES[4])
        assert image.shape == (31, 41)
        assert not image.any()


@pytest.mark.parametrize("method", METHODS)
def test_parallel_beam_is_the_limit_of_a_far_source(method: Method) -> None:
    parallel = oblique_view("parallel")
    away = parallel.centre - 1e7 * parallel.source
    point = View(41, 31, parallel.origin, parallel.u_step, parallel.v_step, away)
    for pose in POSES:
        renderer = Renderer(VOLUMES["turned"], method)
        # Rays spread by 60 mm / 1e7 mm: 2e-4 of a voxel's difference, measured 3e-6.
        np.testing.assert_allclose(renderer.render(point, pose), renderer.render(parallel, pose), atol=5e-5)


@pytest.mark.parametrize("method", METHODS)
@given(
    theta=st.tuples(*[st.floats(-180, 180)] * 3),
    move=st.tuples(*[st.floats(-180, 180)] * 3),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
    beam=st.sampled_from(BEAMS),
)
def test_moving_view_and_bone_together_changes_nothing(
    method: Method,
    theta: tuple[float, float, float],
    move: tuple[float, float, float],
    shift: tuple[float, float, float],
    beam: str,
) -> None:
    shape = (28, 26, 30)
    renderer = Renderer(Volume(blobs(shape, 1.5), affine((1, 1, 1), shape)), method)
    view, pose = oblique_view(beam, (21, 17), 2.0), Pose.from_euler_zyx_deg(theta, [1, 2, 3])
    motion = Pose.from_euler_zyx_deg(move, shift)
    turn = motion.rotation
    source = motion.apply(view.source[None])[0] if beam == "point" else turn @ view.source
    moved = View(21, 17, motion.apply(view.origin[None])[0], turn @ view.u_step, turn @ view.v_step, source, view.beam)
    still = renderer.render(view, pose)
    # The same rays up to rounding; where two axes tie for the slices rounding may choose the other, which is as exact
    # as the method is: 0.1 % of the range.
    np.testing.assert_allclose(
        renderer.render(moved, motion * pose), still, atol=max(2e-3 * float(np.ptp(still)), 1e-5)
    )


@given(share=st.floats(0.1, 3.0), theta=st.tuples(*[st.floats(-180, 180)] * 3), beam=st.sampled_from(BEAMS))
def test_rendering_is_linear(share: float, theta: tuple[float, float, float], beam: str) -> None:
    grid, view, pose = (
        affine((1, 1, 1), (19, 17, 23)),
        oblique_view(beam, (21, 17), 2.0),
        Pose.from_euler_zyx_deg(theta, [0, 0, 0]),
    )
    a, b = noise(seed=1), noise(seed=2)
    for method in METHODS:
        images = [Renderer(Volume(mu, grid), method).render(view, pose) for mu in (a, b, a + share * b)]
        # Shear-warp cuts the overshoot of its cubic warp at zero; 0.005 was measured on noise.
        atol = 1e-5 if method == "ray_cast" else 0.02
        np.testing.assert_allclose(images[2], images[0] + share * images[1], atol=atol)


@pytest.mark.parametrize("method", METHODS)
def test_many_threads_may_share_a_renderer(method: Method) -> None:
    volume, view = VOLUMES["turned"], oblique_view()
    expected = [Renderer(volume, method).render(view, pose) for pose in POSES]
    renderer = Renderer(volume, method)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda pose: renderer.render(view, pose), POSES * 3))
    for image, wanted in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(image, wanted)


def test_refuses_unknown_methods_and_devices() -> None:
    volume = VOLUMES["isotropic"]
    with pytest.raises(InputError, match='method: expected "shear_warp", "ray_cast" or "trilinear", found \'splat\''):
        Renderer(volume, "splat")  # type: ignore[arg-type]
    with pytest.raises(InputError, match='device: expected "cpu" or "cuda", found \'tpu\''):
        Renderer(volume, device="tpu")  # type: ignore[arg-type]


@pytest.mark.skipif(_core.cuda_device_count() > 0, reason="there is a CUDA device")
def test_asking_for_cuda_without_a_device_says_why() -> None:
    reason = "no usable CUDA device" if _core.built_with_cuda() else "needs a build with CUDA"
    with pytest.raises(InputError, match=reason):
        Renderer(VOLUMES["isotropic"], device="cuda")


@pytest.mark.needs_cuda
@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", VOLUMES)
def test_cuda_renders_what_the_cpu_renders(name: str, method: Method, beam: str) -> None:
    view = oblique_view(beam)
    cpu, cuda = (Renderer(VOLUMES[name], method, device) for device in ("cpu", "cuda"))
    for pose in POSES:
        np.testing.assert_allclose(cuda.render(view, pose), cpu.render(view, pose), atol=2e-5)


@pytest.fixture(scope="module")
def head(data_dir: Path) -> Volume:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(data_dir / "head_ct" / "vhf_head_ct.nii.gz"))
    hu = sitk.GetArrayFromImage(image).astype(np.float32)
    mu = 0.02 * np.clip(1 + hu / 1000, 0, None)
    mu[hu < -700] = 0
    return Volume(mu, affine(image.GetSpacing(), mu.shape))


def _rms_percent(found: Floats, expected: Floats) -> float:
    return float(100 * np.sqrt(((found - expected) ** 2).mean()) / np.ptp(expected))


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.parametrize("size", [128, 256, 512])
def test_error_budget_on_a_head_ct(head: Volume, size: int) -> None:
    ray_cast, shear_warp = Renderer(head), Renderer(head, "shear_warp")
    view = View.from_sdd((size, size), 1000.0, 307 / size, 307 / size, 0.0, 0.0)
    random = np.random.default_rng(size)
    for theta in ([80, 10, 20], [0, 0, 0], [45, 45, 0], [30, 35, 50]):
        pose = Pose.from_euler_zyx_deg(theta, [0, 0, -300])
        cast, sheared = ray_cast.render(view, pose), shear_warp.render(view, pose)
        some = random.integers(0, size, (700, 2))
        exact = line_integrals(head, view, pose, some.astype(np.float64))
        assert np.ptp(exact) > 4
        # Measured on 3000 pixels: 0.07 % at 45 degrees between the axes, 0.002 % along one.
        assert _rms_percent(cast[some[:, 1], some[:, 0]], exact) < 0.1
        # Measured against the exact integral: 0.36 % at 128, 0.18 % at 256, 0.10 % at 512 pixels.
        assert _rms_percent(sheared[some[:, 1], some[:, 0]], exact) < {128: 0.6, 256: 0.35, 512: 0.25}[size]


def test_a_gpu_renders_beside_networks_only_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, beside in ((0, "cpu"), (2, "cuda")):
        monkeypatch.setattr(_core, "cuda_device_count", lambda count=count: count)
        assert [device_beside(name) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", beside, beside]
