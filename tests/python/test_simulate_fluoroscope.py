"""The simulated image chain: exact without effects, each effect as stated and off by default."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.simulate.chain import Exposure, ImageChain, Recorder
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp

SIZE = 128
BOX = np.s_[30:98, 30:98]  # well inside the field


def fluoroscope(chain: ImageChain | None = None, **warp: float) -> SimulatedFluoroscope:
    view = View.from_sdd((SIZE, SIZE), 1000.0, 1.0, 1.0, 0.0, 0.0)
    return SimulatedFluoroscope(view, IntensifierWarp(62.0, **warp), chain or ImageChain())


def ramp() -> np.ndarray:
    return np.tile(np.linspace(0, 4, SIZE, dtype=np.float32), (SIZE, 1))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_without_effects_the_signal_is_beer_lambert_exactly() -> None:
    signal = fluoroscope().signal(ramp())
    assert signal[BOX] == pytest.approx(np.exp(-ramp())[BOX], rel=1e-6)
    frame = fluoroscope(ImageChain(bits=16)).record(ramp(), Exposure(), rng())
    assert frame.dtype == np.uint16
    assert np.abs(frame[BOX] - 65535 * np.exp(-ramp().astype(np.float64))[BOX]).max() <= 0.5 + 0.01


def test_bright_is_unattenuated_and_the_open_field_saturates() -> None:
    frame = fluoroscope().record(ramp(), Exposure(open_field=4.0), rng())
    assert frame.dtype == np.uint8
    middle = frame[64, 3:-3].astype(int)
    assert (np.diff(middle) <= 0).all()
    assert middle[0] == 255


def test_outside_the_circular_field_there_is_nothing() -> None:
    device = fluoroscope()
    frame = device.record(np.zeros((SIZE, SIZE), dtype=np.float32), Exposure(), rng())
    v, u = np.indices(frame.shape)
    away = np.hypot(u - device.field.u, v - device.field.v)
    assert (frame[away > device.field.radius + 1] == 0).all()
    assert (frame[away < device.field.radius - 1] == 255).all()


def test_noise_has_the_stated_variance() -> None:
    flat = np.full((SIZE, SIZE), 1.0, dtype=np.float32)
    for quanta, electronic in ((400.0, 0.0), (None, 0.02), (400.0, 0.02)):
        chain = ImageChain(electronic_noise=electronic, bits=16)
        frames = [
            fluoroscope(chain).record(flat, Exposure(open_field=1.5, quanta=quanta), generator)[BOX] / 65535
            for generator in np.random.default_rng(3).spawn(20)
        ]
        signal = 1.5 * np.exp(-1.0)
        expected = electronic**2 + (0.0 if quanta is None else signal**2 / (quanta * np.exp(-1.0)))
        samples = np.stack(frames)
        assert samples.mean() == pytest.approx(signal, rel=0.002)
        # 92,480 samples: the variance is known to sqrt(2 / n) = 0.5 %; four of these are allowed.
        assert samples.var() == pytest.approx(expected, rel=0.02)


def test_without_noise_every_recording_is_the_same() -> None:
    first = fluoroscope().record(ramp(), Exposure(), np.random.default_rng(1))
    assert (first == fluoroscope().record(ramp(), Exposure(), np.random.default_rng(2))).all()


def test_scatter_of_a_uniform_body_is_the_stated_share_of_what_it_removed() -> None:
    thick = np.full((SIZE, SIZE), 3.0, dtype=np.float32)
    signal = fluoroscope(ImageChain(scatter_share=0.02)).signal(thick)
    assert signal[64, 64] == pytest.approx(np.exp(-3) + 0.02 * (1 - np.exp(-3)), rel=1e-4)


@pytest.mark.parametrize(("effect", "reach"), [("blur", 3.0), ("scatter", 12.0), ("glare", 12.0)])
def test_spreading_effects_have_the_stated_width(effect: str, reach: float) -> None:
    """A thin opaque rod becomes a Gaussian valley (or, for scatter, hill) of the stated standard deviation."""
    chains = {
        "blur": ImageChain(blur_mm=reach),
        "scatter": ImageChain(scatter_share=0.9, scatter_width_mm=reach),
        "glare": ImageChain(glare_share=0.5, glare_width_mm=reach),
    }
    view = View.from_sdd((256, 256), 1000.0, 1.0, 1.0, 0.0, 0.0)
    device = SimulatedFluoroscope(view, IntensifierWarp(400.0), chains[effect])
    rod = np.zeros((256, 256), dtype=np.float32)
    rod[:, 126:130] = 50.0
    profile = np.abs(device.signal(rod)[128] - device.signal(np.zeros_like(rod))[128]).astype(np.float64)
    profile[120:136] *= effect == "blur"  # there the rod itself hides the valley's middle
    x = np.arange(256) - 127.5
    if effect == "blur":
        assert np.sqrt((profile * x**2).sum() / profile.sum()) == pytest.approx(
            np.hypot(reach, 4 / np.sqrt(12)), rel=0.03
        )
    else:
        ratio = profile[128 + int(2 * reach)] / profile[128 + int(reach)]
        far, near = x[128 + int(2 * reach)], x[128 + int(reach)]
        assert ratio == pytest.approx(np.exp((near**2 - far**2) / (2 * reach**2)), rel=0.1)


def test_vignetting_and_heel_shade_as_stated() -> None:
    device = fluoroscope(ImageChain(vignetting=0.3, heel=(0.1, 0.0)))
    signal = device.signal(np.zeros((SIZE, SIZE), dtype=np.float32))
    half = round(device.field.u + device.field.radius / 2)
    share = (half - device.field.u) / device.field.radius
    assert signal[64, half] == pytest.approx((1 - 0.3 * share**2) * (1 + 0.1 * share), rel=1e-3)


def test_gamma_is_the_stated_power() -> None:
    plain = fluoroscope(ImageChain(bits=16)).record(ramp(), Exposure(), rng())[BOX] / 65535
    curved = fluoroscope(ImageChain(bits=16, gamma=0.5)).record(ramp(), Exposure(), rng())[BOX] / 65535
    assert curved == pytest.approx(np.sqrt(plain), abs=1e-3)


def test_warp_moves_the_image_where_it_moves_points() -> None:
    device = fluoroscope(screen_half_angle_deg=25.0, turn_deg=5.0)
    place = np.array([[85.0, 45.0]])
    v, u = np.indices((SIZE, SIZE))
    spot = np.exp(-((u - place[0, 0]) ** 2 + (v - place[0, 1]) ** 2) / (2 * 2.5**2)).astype(np.float32)
    seen = np.clip(device.warp_image(spot), 0, None)
    centre = [(seen * u).sum() / seen.sum(), (seen * v).sum() / seen.sum()]
    expected = device.recorded_from_plane((place - device.centre_px) * device.pitch_mm)[0]
    assert centre == pytest.approx(expected, abs=0.05)  # measured 0.02: the spot has a width, the warp a curvature
    assert np.hypot(*(expected - place[0])) > 0.5  # ten times the tolerance


def test_warp_off_keeps_the_image() -> None:
    assert fluoroscope().warp_image(ramp()) == pytest.approx(ramp(), abs=1e-6)


def test_plane_and_recorded_pixels_are_inverse() -> None:
    device = fluoroscope(screen_half_angle_deg=25.0, turn_deg=5.0)
    points = np.random.default_rng(0).uniform(-40, 40, (50, 2))
    assert device.plane_from_recorded(device.recorded_from_plane(points)) == pytest.approx(points, abs=1e-8)
    at = device.pixel_plane_mm[20, 90]
    assert device.recorded_from_plane(at[None])[0] == pytest.approx([90, 20], abs=1e-8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scatter_share", 1.0),
        ("vignetting", -0.1),
        ("blur_mm", float("nan")),
        ("electronic_noise", -1.0),
        ("gamma", 0.0),
        ("heel", (1.5, 0.0)),
        ("bits", 17),
        ("bits", 7),
        ("lag_s", -0.01),
    ],
)
def test_chain_refuses_impossible_values(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        replace(ImageChain(), **{field: value})


def test_refuses_wrong_shapes_and_exposures() -> None:
    with pytest.raises(InputError, match="line_integral"):
        fluoroscope().signal(np.zeros((4, 4), dtype=np.float32))
    with pytest.raises(InputError, match="ideal"):
        fluoroscope().warp_image(np.zeros((4, 4), dtype=np.float32))
    for field, value in (("quanta", 0.0), ("pulse_s", -1e-3), ("instants", 0), ("drift_per_s", float("nan"))):
        with pytest.raises(InputError, match=field):
            replace(Exposure(), **{field: value})
    with pytest.raises(InputError, match=r"drift_per_s: at 30 s the tube's output would be -0.5"):
        Exposure(drift_per_s=-0.05).output(30.0)
    with pytest.raises(InputError, match="lag_s"):
        ImageChain(lag_s=1.0).lag_weights(1 / 30)
    with pytest.raises(InputError, match="square pixels"):
        SimulatedFluoroscope(View.from_sdd((8, 8), 1000.0, 1.0, 2.0, 0.0, 0.0), IntensifierWarp(3.0))


@pytest.mark.parametrize(
    "effect",
    [
        {"scatter_share": 0.02},
        {"blur_mm": 0.8},
        {"glare_share": 0.1},
        {"vignetting": 0.2},
        {"heel": (0.1, 0.0)},
        {"electronic_noise": 0.01},
        {"gamma": 0.7},
        {"bits": 10},
    ],
    ids=lambda effect: next(iter(effect)),
)
def test_every_effect_of_the_chain_shows_and_switched_off_leaves_no_trace(effect: dict[str, object]) -> None:
    plain = fluoroscope().record(ramp(), Exposure(quanta=900.0), rng())
    (name,) = effect
    off = replace(ImageChain(**effect), **{name: getattr(ImageChain(), name)})  # type: ignore[arg-type]
    assert np.array_equal(fluoroscope(off).record(ramp(), Exposure(quanta=900.0), rng()), plain)
    shown = fluoroscope(ImageChain(**effect)).record(ramp(), Exposure(quanta=900.0), rng())  # type: ignore[arg-type]
    assert not np.array_equal(shown, plain)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_white_is_the_largest_number_of_the_bits(bits: int) -> None:
    frame = fluoroscope(ImageChain(bits=bits)).record(ramp() * 0, Exposure(), rng())
    assert frame.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert frame.max() == 2**bits - 1


def test_drift_scales_light_and_quanta() -> None:
    recorder = fluoroscope().recorder
    signal = fluoroscope().signal(ramp())
    steady, drifting = Exposure(open_field=0.5), Exposure(open_field=0.5, drift_per_s=-0.1)
    assert np.array_equal(recorder.expose(signal, drifting, rng(), 0.0), recorder.expose(signal, steady, rng(), 0.0))
    assert recorder.expose(signal, drifting, rng(), 3.0) == pytest.approx(0.7 * 0.5 * signal, rel=1e-6)
    flat = np.full((SIZE, SIZE), 0.5, dtype=np.float32)
    noisy = recorder.expose(flat, Exposure(quanta=1000.0, drift_per_s=-0.1), rng(), 5.0)
    # 250 quanta: relative variance 1/250; 16,384 pixels know it to 1.1 %, four of these are allowed.
    assert noisy.var() / noisy.mean() ** 2 == pytest.approx(1 / 250, rel=0.05)


def test_a_pulse_is_a_few_instants_about_its_middle() -> None:
    assert Exposure().instants_s == (0.0,)
    assert Exposure(pulse_s=0.008, instants=1).instants_s == (0.0,)
    assert Exposure(pulse_s=0.008, instants=4).instants_s == pytest.approx((-0.003, -0.001, 0.001, 0.003))


def test_lag_is_an_exponential_decay() -> None:
    assert ImageChain().lag_weights(1 / 30) == (1.0,)
    weights = ImageChain(lag_s=0.02).lag_weights(1 / 30)
    assert sum(weights) == pytest.approx(1)
    assert np.array(weights[1:]) / weights[:-1] == pytest.approx(np.exp(-(1 / 30) / 0.02))
    assert weights[-1] < 1e-3


def test_scatter_wider_than_a_small_image_is_even() -> None:
    recorder = Recorder((24, 20), 0.05, None, ImageChain(scatter_share=0.02))
    signal = recorder.signal(np.full((24, 20), 0.5, dtype=np.float32))
    np.testing.assert_allclose(signal, 0.5 + 0.02 * 0.5, atol=1e-6)
