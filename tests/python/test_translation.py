"""The parts of style translation: the content-preserving loss, the networks, the pool, the domain of X-rays."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fluoropose.errors import FileFormatError
from fluoropose.learning.config import load_config
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.style import Samples, draw
from fluoropose.learning.translation.config import (
    PlainStyle,
    TranslationConfig,
    XRays,
    load_translation_config,
)
from fluoropose.learning.translation.content import content_loss, phi
from fluoropose.learning.translation.networks import Discriminator, Generator
from fluoropose.learning.translation.pool import Pool
from fluoropose.learning.translation.samples import save_samples
from fluoropose.learning.translation.xrays import load_xrays
from toy_learning import toy_rig

CONFIGS = Path(__file__).resolve().parents[2] / "bench" / "configs"
seeds = st.integers(0, 2**31)


def pictures(seed: int, count: int = 2, size: int = 24) -> torch.Tensor:
    """Smooth random pictures (count, size, size) about in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, size // 4, size // 4, generator=rng) / 2
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic")[:, 0]


def reference_phi(a: NDArray[np.float64], b: NDArray[np.float64], lit: NDArray[np.bool_]) -> float:
    """Eq. 1's phi of one pair, with NumPy's own correlation."""
    found = []
    for axis in (0, 1):
        da, db = (np.gradient(x, axis=axis) for x in (a, b))
        known = np.roll(lit, 1, axis) & np.roll(lit, -1, axis)
        inner = np.zeros_like(lit)
        inner[(slice(1, -1), slice(None)) if axis == 0 else (slice(None), slice(1, -1))] = True
        found.append(np.corrcoef(da[known & inner], db[known & inner])[0, 1])
    return float(np.mean(found))


@given(seed=seeds)
def test_phi_is_the_correlation_of_derivatives(seed: int) -> None:
    a, b = pictures(seed), pictures(seed + 1)
    lit = torch.rand(a.shape, generator=torch.Generator().manual_seed(seed)) < 0.8
    for mask in (lit, torch.ones_like(lit)):
        expected = [
            reference_phi(x.double().numpy(), y.double().numpy(), m.numpy()) for x, y, m in zip(a, b, mask, strict=True)
        ]
        # float32; measured up to 3e-7.
        assert np.abs(phi(a, b, mask).numpy() - expected).max() < 1e-5
    assert torch.equal(phi(a, b), phi(a, b, torch.ones_like(lit)))


@given(seed=seeds, scale=st.floats(0.05, 20), offset=st.floats(-3, 3))
def test_phi_does_not_see_grey_changes(seed: int, scale: float, offset: float) -> None:
    a, b = pictures(seed), pictures(seed + 1)
    # Measured up to 6e-6, of float32 beside the offset.
    assert torch.allclose(phi(a, scale * a + offset), torch.ones(2), atol=1e-4)
    assert torch.allclose(phi(a, -scale * a + offset), -torch.ones(2), atol=1e-4)
    assert torch.allclose(phi(a, scale * b + offset), phi(a, b), atol=1e-4)
    assert torch.allclose(phi(a, b), phi(b, a), atol=1e-6)
    assert float(phi(a, b).abs().max()) <= 1 + 1e-6


def test_phi_of_a_constant_is_zero_and_has_gradients() -> None:
    flat = torch.zeros(1, 16, 16, requires_grad=True)
    value = phi(pictures(3, 1, 16), flat)
    assert float(value.detach()) == 0
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert flat.grad is not None
    assert bool(torch.isfinite(flat.grad).all())


def test_phi_counts_lit_pixels_alone() -> None:
    a, b = pictures(1), pictures(2)
    lit = torch.ones_like(a, dtype=torch.bool)
    lit[:, :, 12:] = False
    garbage = torch.where(lit, b, 1e3 * pictures(9))
    assert torch.allclose(phi(a, garbage, lit), phi(a, b, lit), atol=1e-6)
    assert not torch.allclose(phi(a, garbage), phi(a, b), atol=0.05)


def test_the_content_loss_falls_when_followed() -> None:
    """Gradient descent on a picture alone brings its edges to where the other's are; measured 0.98 -> 0.004."""
    xray, drr = pictures(1), pictures(2)
    lit = torch.ones_like(xray, dtype=torch.bool)
    made = [pictures(7).requires_grad_(), pictures(8).requires_grad_()]
    optimiser = torch.optim.Adam(made, 0.05)
    losses = []
    for _ in range(150):
        loss = content_loss(xray, made[0], lit) + content_loss(drr, made[1], lit)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.5
    assert losses[-1] < 0.05
    assert float(content_loss(xray, xray, lit)) == pytest.approx(0, abs=1e-5)
    assert float(content_loss(xray, -xray, lit)) == pytest.approx(1, abs=1e-5)


def test_generators_have_the_paper_s_size_and_keep_shapes() -> None:
    # Zhu et al.'s generator with 9 blocks has 11.4 million weights with three channels, 11.37 with one.
    assert sum(p.numel() for p in Generator().parameters()) == pytest.approx(11.37e6, rel=0.01)
    torch.manual_seed(1)
    small = Generator(4, 1).eval()
    inputs = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        outputs = small(inputs)
        # Instance normalisation: what else is in the batch does not matter.
        assert torch.allclose(outputs[:1], small(inputs[:1]), atol=1e-6)
    assert outputs.shape == inputs.shape
    assert float(outputs.abs().max()) <= 1


def test_discriminators_judge_patches_of_70_pixels() -> None:
    torch.manual_seed(1)
    judge = Discriminator(4)
    picture = torch.zeros(1, 1, 128, 128, requires_grad=True)
    judged = judge(picture)
    assert judged.shape == (1, 1, 14, 14)
    for module in judge.modules():  # which looks at the whole picture
        if isinstance(module, torch.nn.InstanceNorm2d):
            module.forward = lambda x: x  # type: ignore[method-assign]
    judge(picture)[0, 0, 7, 7].backward()
    assert picture.grad is not None
    rows = torch.nonzero(picture.grad[0, 0].abs().sum(1))
    assert int(rows.max() - rows.min()) + 1 == 70


def test_the_pool_gives_older_pictures_back() -> None:
    chances = torch.rand((200, 1, 2), generator=torch.Generator().manual_seed(1))
    pool = Pool(8, 1)
    given_back = [int(pool(torch.full((1, 1, 1, 1), float(k)), chance)) for k, chance in enumerate(chances)]
    assert given_back[:8] == list(range(8))
    older = sum(found < k for k, found in enumerate(given_back[8:], start=8))
    # Half of 192 throws, sd 7.
    assert 70 < older < 122
    again = Pool(8, 1)
    again.load_state_dict(pool.state_dict())
    more = torch.arange(5.0).view(5, 1, 1, 1)
    assert torch.equal(again(more, chances[:5, 0]), pool(more, chances[:5, 0]))
    assert torch.equal(Pool(0, 1)(more, chances[:5, 0]), more)


def test_plain_radiographs_are_proportional_to_the_line_integral() -> None:
    integral = torch.linspace(0, 5, 64).expand(1, 1, 64, 64).contiguous()
    samples = Samples(integral, torch.ones(1, 64, 64), torch.zeros(1, 1, 2), torch.tensor([[31.5, 31.5, 90.0]]))
    drawn = draw(samples, 64, PlainStyle(), torch.Generator().manual_seed(0))
    seen = Preprocessing(low=0.0, high=1.0)(drawn.crops, drawn.lit)[0, 32].numpy()
    # Measured: 0.043 of [-1, 1].
    assert np.abs(seen - np.linspace(-1, 1, 64)).max() < 0.06


def frames_of(folder: Path, seed: int, count: int = 3, blank: int | None = None) -> Path:
    """Write 8-bit frames of 200 x 200 pixels, as ``toy_rig`` has them."""
    folder.mkdir(parents=True)
    smooth = pictures(seed, count, 200).numpy()
    for k, picture in enumerate(smooth):
        grey = np.clip(127 + 60 * picture, 0, 255).astype(np.uint8)
        imageio.imwrite(folder / f"{k:04d}.png", np.full_like(grey, 90) if k == blank else grey)
    return folder


def config_of(folder: Path, **values: object) -> TranslationConfig:
    xrays = XRays(frames=(folder / "view1", folder / "view2"))
    defaults: dict[str, object] = {"set": folder / "set.h5", "rig": folder / "rig.json", "xrays": (xrays,)}
    return TranslationConfig.model_validate(defaults | values)


def test_xrays_are_cut_out_of_all_frames(tmp_path: Path) -> None:
    rig = toy_rig()
    frames_of(tmp_path / "view1", 1)
    frames_of(tmp_path / "view2", 2)
    config = config_of(tmp_path, crops_per_frame=2)
    loaded = load_xrays(config, rig, 32, Preprocessing())
    assert loaded.pictures.shape == loaded.lit.shape == (12, 32, 32)
    assert loaded.left_out == ()
    assert float(loaded.pictures.abs().max()) == 1
    assert bool((loaded.pictures[~loaded.lit] == 1).all())
    assert not torch.equal(loaded.pictures[0], loaded.pictures[1])
    again = load_xrays(config, rig, 32, Preprocessing())
    assert torch.equal(loaded.pictures, again.pictures)
    part = config_of(tmp_path, xrays=(config.xrays[0].model_copy(update={"range": "1:2"}),))
    assert len(load_xrays(part, rig, 32, Preprocessing()).pictures) == 2


def test_frames_without_an_image_are_left_out_and_named(tmp_path: Path) -> None:
    rig = toy_rig()
    frames_of(tmp_path / "view1", 1, blank=1)
    frames_of(tmp_path / "view2", 2)
    nan = np.full((200, 200), np.nan, np.float32)
    loaded = load_xrays(config_of(tmp_path), rig, 32, Preprocessing())
    assert len(loaded.pictures) == 5
    assert len(loaded.left_out) == 1
    assert "frame 0001: constant" in loaded.left_out[0]
    for view in ("view1", "view2"):
        for file in (tmp_path / view).iterdir():
            file.unlink()
            imageio.imwrite(file.with_suffix(".tif"), nan)
    with pytest.raises(FileFormatError, match=r"not one of 6 frames can be used.*NaN"):
        load_xrays(config_of(tmp_path), rig, 32, Preprocessing())


def test_pictures_in_which_nothing_can_be_seen_do_not_cost_the_frame_its_others(tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        for file in frames_of(tmp_path / view, 3, 1).iterdir():
            half = imageio.imread(file)
            half[:, :130] = 90
            imageio.imwrite(file, half)
    loaded = load_xrays(config_of(tmp_path, crops_per_frame=20, side=(0.3, 0.3)), toy_rig(), 32, Preprocessing())
    numbers, counts = torch.unique(loaded.frame, return_counts=True)
    # Of 20 squares as large as three tenths of the field, most lie in the half that shows something, at least in part.
    assert numbers.tolist() == [0, 1]
    assert ((counts >= 8) & (counts < 20)).all()
    assert loaded.left_out == ()


def test_wrong_sources_of_xrays_are_refused(tmp_path: Path) -> None:
    frames_of(tmp_path / "view1", 1)
    (tmp_path / "view2").mkdir()
    with pytest.raises(FileFormatError, match=r"view2.*expected PNG"):
        load_xrays(config_of(tmp_path), toy_rig(), 32, Preprocessing())
    one = config_of(tmp_path, xrays=(XRays(frames=(tmp_path / "view1",)),))
    with pytest.raises(FileFormatError, match="2 views, found 1"):
        load_xrays(one, toy_rig(), 32, Preprocessing())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("content = 3", "content: unknown key"),
        ("side = [1.0, 0.5]", "side"),
        ("crops_per_frame = 0", "crops_per_frame"),
        ("[generator]\nblocks = 0", "blocks"),
        ("[training]\ncontent_weight = -1", "content_weight"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "style.toml"
    good = 'set = "set.h5"\nrig = "rig.json"\n'
    path.write_text(f'{good}[[xrays]]\nframes = ["a", "b"]\n', encoding="utf-8")
    assert load_translation_config(path).xrays[0].frames == (tmp_path / "a", tmp_path / "b")
    path.write_text(f'{good}{line}\n[[xrays]]\nframes = ["a", "b"]\n', encoding="utf-8")
    with pytest.raises(FileFormatError, match=rf"style\.toml.*{says}"):
        load_translation_config(path)


def test_sample_sheets_show_what_they_are_given(tmp_path: Path) -> None:
    save_samples(tmp_path / "new" / "sheet.png", [np.full((3, 8, 8), -1.0, np.float32), np.ones((3, 8, 8), np.float32)])
    sheet = imageio.imread(tmp_path / "new" / "sheet.png")
    assert sheet.shape == (20, 30)
    assert sheet[1:9, 1:9].max() == 0
    assert sheet[11:19, 1:9].min() == 255


def test_the_benchmark_s_landmark_network_sees_the_same_plain_style() -> None:
    style = load_config(CONFIGS / "head_plain.toml").style.model_dump()
    moved = {name: style.pop(name) for name in ("turn_deg", "scale", "shift")}
    assert style == {name: value for name, value in PlainStyle().model_dump().items() if name not in moved}


def test_the_benchmark_s_landmark_network_knows_every_pose_of_the_style_set() -> None:
    style = load_translation_config(CONFIGS / "head_style.toml")
    narrow, wide = (load_config(CONFIGS / f"head_{name}.toml").dataset for name in (style.set.stem, "plain"))
    reach = np.abs(np.subtract(narrow.pose.centre_mm, wide.pose.centre_mm)) + narrow.pose.range_mm
    assert (reach <= wide.pose.range_mm).all()
    assert (np.array(narrow.pose.tilt_deg) <= wide.pose.tilt_deg).all()
    assert style.count is not None
    assert style.count <= narrow.count - narrow.test_count
