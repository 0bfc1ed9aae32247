"""Pages of pictures: of a set, of what networks make of it, of errors, of several runs."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.bundle import (
    Bundle,
    LandmarkFacts,
    NetworkFacts,
    NetworkName,
    Owner,
    RigFacts,
    StyleFacts,
    add_networks,
)
from fluoropose.learning.config import load_config
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.translation.config import PlainStyle
from fluoropose.registration.trial import Trial
from fluoropose.report.error_bars import error_bars, error_section
from fluoropose.report.page import write_page
from fluoropose.report.predictions import prediction_section
from fluoropose.report.radiographs import drawn, radiograph_section
from fluoropose.report.translations import translation_section
from toy_bundle import Scaled, turned_rig
from toy_learning import CONFIG, toy_bone, write_toy

SIZE, N, TESTS = 32, 7, 4


class Middle(nn.Module):
    """Sees every landmark in the middle of the picture."""

    def forward(self, crops: Tensor, views: Tensor) -> Tensor:
        return 0 * crops[:, 0, :N, :2] + 0 * views[:, None, None]  # traced: no size may become a constant


@pytest.fixture(scope="module")
def set_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    return make_dataset(load_config(write_toy(folder, CONFIG)), folder / "set.h5")


@pytest.fixture(scope="module")
def radiographs(set_path: Path) -> RadiographSet:
    return RadiographSet.load(set_path)


@pytest.fixture(scope="module")
def frames(set_path: Path) -> Trial:
    """A trial with two frames per view, of noise, the second one of view 2 blank."""
    folder, rng = set_path.parent, np.random.default_rng(5)
    for view in ("view1", "view2"):
        (folder / view).mkdir()
        for i in range(2):
            stored = rng.integers(20, 230, (200, 200)) if (view, i) != ("view2", 1) else np.full((200, 200), 90)
            Image.fromarray(stored.astype(np.uint8)).save(folder / view / f"{i}.png")
    fields = {name: folder / file for name, file in (("rig", "rig.json"), ("bone", "bone.h5"), ("bundle", "none"))}
    return Trial(**fields, frames=(folder / "view1", folder / "view2"), out=folder / "out")


def bundle(path: Path, owner: Owner, networks: dict[NetworkName, nn.Module], size: int = SIZE) -> Bundle:
    facts: dict[NetworkName, NetworkFacts] = {
        name: StyleFacts(size=size, preprocessing=Preprocessing(), training={}) for name in networks
    }
    if "landmarks" in networks:
        facts["landmarks"] = LandmarkFacts(size=size, preprocessing=Preprocessing(), training={}, crop_margin=None)
    add_networks(path, owner, {name: (module, facts[name]) for name, module in networks.items()})
    return Bundle.load(path)


def pictures(page: Path) -> list[np.ndarray]:
    """All pictures of a page, which loads nothing else."""
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", text) == []
    coded = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("L")) for one in coded]


def refused(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


# --- a set ----------------------------------------------------------------------------------------------------------


def test_the_page_of_a_set_shows_samples_and_what_a_network_finds(
    set_path: Path, radiographs: RadiographSet, tmp_path: Path
) -> None:
    path = bundle(tmp_path / "toy.fpbundle", radiographs.owner, {"landmarks": Middle()}).path
    page = tmp_path / "set.html"
    result = CliRunner().invoke(app, ["report", "set", str(set_path), "--bundle", str(path), "--out", str(page)])
    assert result.exit_code == 0, result.output
    found = pictures(page)
    assert len(found) == 6
    assert all(picture.std() > 10 for picture in found)
    assert "toy: 12 samples, 4 of them for tests" in page.read_text()


def test_samples_are_shown_where_their_masks_and_landmarks_are(set_path: Path, radiographs: RadiographSet) -> None:
    section = radiograph_section(set_path, radiographs, radiographs.config)
    sheet = section.pictures[0].figure
    shown = [axes for axes in sheet.axes if axes.images]
    assert len(shown) == 12  # all of a small set, in order
    plain, inputs = drawn(radiographs, torch.arange(12), PlainStyle(), radiographs.config.preprocessing)
    for k, axes in enumerate(shown):
        np.testing.assert_array_equal(axes.images[0].get_array(), inputs[k])
        points = plain.landmarks_px[k].numpy()
        inside = points[((points > -0.5) & (points < SIZE - 0.5)).all(axis=1)]
        np.testing.assert_allclose(axes.collections[-1].get_offsets(), inside)


def test_orientations_are_told_against_the_nominal_one(tmp_path: Path) -> None:
    text = CONFIG.replace("turn_deg = [-20, 20]", "turn_deg = [17, 17]").replace("[10, 10, 10]", "[0, 0, 0]", 1)
    path = make_dataset(load_config(write_toy(tmp_path, text)), tmp_path / "set.h5")
    radiographs = RadiographSet.load(path)
    sheet = radiograph_section(path, radiographs, radiographs.config).pictures[0].figure
    assert {axes.get_title()[6:].strip() for axes in sheet.axes if axes.images} == {"+0°  +17°  +0°"}


# --- predictions ----------------------------------------------------------------------------------------------------


def test_distances_are_those_between_true_and_predicted_landmarks(radiographs: RadiographSet, tmp_path: Path) -> None:
    network = bundle(tmp_path / "toy.fpbundle", radiographs.owner, {"landmarks": Middle()})
    run = radiographs.config.model_copy(update={"style": PlainStyle()})
    section = prediction_section(radiographs, network, run)
    true = drawn(radiographs, torch.arange(8, 12), run.style, run.preprocessing)[0].landmarks_px.numpy()
    inside = ((true > -0.5) & (true < SIZE - 0.5)).all(axis=2)
    distances = np.linalg.norm(true - 15.5, axis=2)[inside]
    squares = (2 * (true - 15.5) / SIZE) ** 2
    expected = np.log10(squares.mean()), np.log10(squares[inside].mean()), np.median(distances)
    row = section.table[-1]
    assert row[:2] == (f"all: {TESTS}", str(inside.sum()))
    np.testing.assert_allclose([float(cell) for cell in row[2:5]], expected, atol=0.006)
    boxes = section.pictures[1].figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in boxes] == [f"p{k}\n({inside[:, k].sum()})" for k in range(N)]


def test_a_set_without_a_landmark_inside_is_told_so(radiographs: RadiographSet, tmp_path: Path) -> None:
    network = bundle(tmp_path / "toy.fpbundle", radiographs.owner, {"landmarks": Middle()})
    outside = replace(radiographs, landmarks_px=radiographs.landmarks_px + 1e4)
    section = prediction_section(outside, network, radiographs.config)
    assert section.table[-1][:2] == (f"all: {TESTS}", "0")
    write_page(tmp_path / "page.html", "none", "", [section])
    assert len(pictures(tmp_path / "page.html")) == 3


def test_a_network_of_another_bone_rig_or_size_is_refused(
    set_path: Path, radiographs: RadiographSet, tmp_path: Path
) -> None:
    other = radiographs.owner.model_copy(update={"bone_fingerprint": "0" * 64, "bone_name": "femur"})
    of_other = bundle(tmp_path / "other.fpbundle", other, {"landmarks": Middle()})
    with pytest.raises(InputError, match=r"other.fpbundle: trained for bone 'femur' .* the set is of 'toy'"):
        prediction_section(radiographs, of_other, radiographs.config)
    larger = bundle(tmp_path / "larger.fpbundle", radiographs.owner, {"landmarks": Middle()}, 64)
    with pytest.raises(InputError, match=r"larger.fpbundle: takes pictures of 64 px, those of the set have 32"):
        prediction_section(radiographs, larger, radiographs.config)
    away = RigFacts.of(turned_rig(20.0))
    of_rig = bundle(
        tmp_path / "rig.fpbundle", radiographs.owner.model_copy(update={"rig": away}), {"landmarks": Middle()}
    )
    with pytest.raises(
        InputError, match=r"rig.fpbundle: trained for another rig .* turned against view 1 by 20\.\d+ deg"
    ):
        prediction_section(radiographs, of_rig, radiographs.config)
    without = bundle(tmp_path / "without.fpbundle", radiographs.owner, {"translate": Scaled(1.0)})
    assert "expected a landmark network" in refused(["set", str(set_path), "--bundle", str(without.path)])


# --- translations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("there", "back", "expected"), [(0.5, 2.0, (1, 1, 0)), (-1.0, 1.0, (-1, -1, None))])
def test_translations_tell_what_they_keep(
    radiographs: RadiographSet,
    frames: Trial,
    tmp_path: Path,
    there: float,
    back: float,
    expected: tuple[float, float, float | None],
) -> None:
    networks: dict[NetworkName, nn.Module] = {"translate": Scaled(there), "untranslate": Scaled(back)}
    section = translation_section(radiographs, bundle(tmp_path / "toy.fpbundle", radiographs.owner, networks), frames)
    xrays, plain = (picture.figure for picture in section.pictures)
    assert [len([axes for axes in figure.axes if axes.images]) for figure in (xrays, plain)] == [3 * 3, 3 * TESTS]
    for value, cell in zip(expected, section.table[1][1:], strict=True):
        if value is not None:
            assert float(cell) == pytest.approx(value, abs=0.0006)


def test_a_bundle_without_both_generators_is_refused(radiographs: RadiographSet, frames: Trial, tmp_path: Path) -> None:
    one = bundle(tmp_path / "one.fpbundle", radiographs.owner, {"translate": Scaled(1.0)})
    with pytest.raises(InputError, match="expected translate and untranslate, found translate"):
        translation_section(radiographs, one, frames)


def test_frames_that_show_nothing_are_named(radiographs: RadiographSet, frames: Trial, tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        (tmp_path / view).mkdir()
        Image.fromarray(np.full((200, 200), 7, np.uint8)).save(tmp_path / view / "0.png")
    networks: dict[NetworkName, nn.Module] = {"translate": Scaled(1.0), "untranslate": Scaled(1.0)}
    blank = frames.model_copy(update={"frames": (tmp_path / "view1", tmp_path / "view2")})
    with pytest.raises(FileFormatError, match=r"not one of 2 can be used: .*view1: frame 0"):
        translation_section(radiographs, bundle(tmp_path / "t.fpbundle", radiographs.owner, networks), blank)


def test_a_trial_of_another_rig_or_bone_is_refused(radiographs: RadiographSet, frames: Trial, tmp_path: Path) -> None:
    networks: dict[NetworkName, nn.Module] = {"translate": Scaled(1.0), "untranslate": Scaled(1.0)}
    both = bundle(tmp_path / "t.fpbundle", radiographs.owner, networks)
    turned_rig(20.0).save(tmp_path / "turned.json")
    with pytest.raises(InputError, match="trained for another rig"):
        translation_section(radiographs, both, frames.model_copy(update={"rig": tmp_path / "turned.json"}))
    bone = toy_bone("another")
    replace(bone, vertices=bone.vertices + 1).save(tmp_path / "another.h5")
    with pytest.raises(InputError, match=r"trained for bone 'toy' .*, found 'another'"):
        translation_section(radiographs, both, frames.model_copy(update={"bone": tmp_path / "another.h5"}))


def test_damaged_files_are_one_line_and_exit_code_2(set_path: Path, radiographs: RadiographSet, tmp_path: Path) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(set_path.read_bytes()[:5000])
    assert f"{cut}: expected a set of radiographs" in refused(["set", str(cut)])
    altered = bundle(tmp_path / "altered.fpbundle", radiographs.owner, {"landmarks": Middle()}).path
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(content)
    assert f"{altered}: " in refused(["set", str(set_path), "--bundle", str(altered)])
    assert "nowhere.toml" in refused([str(tmp_path / "nowhere.toml")])


# --- errors ---------------------------------------------------------------------------------------------------------


def row(scenario: str, style: str, degrees: float | None, failed: int = 0) -> dict[str, object]:
    error = None if degrees is None else {"mean": degrees, "sd": 0.1, "median": degrees, "p95": degrees, "max": degrees}
    named = {"scenario": scenario, "style": style, "segmentation": "true", "pairs": 12, "failed": failed}
    rate = {"value": 0.75, "deg": 5.0, "mm": 5.0}
    return {**named, "rotation_error_deg": error, "translation_error_mm": error, "success_rate": rate}


def test_bars_are_as_high_as_the_errors_and_say_how_many_failed() -> None:
    rows = [row("walking", "raw", 4.0, 3), row("walking", "translated", 2.0), row("bending", "raw", None, 12)]
    figure = error_bars(rows, {"walking": {"degrees": [3.9], "mm": [4.6]}})
    degrees, mm = figure.axes
    heights = [bar.get_height() for bar in degrees.patches]
    np.testing.assert_array_equal(heights, [4.0, np.nan, 2.0])
    assert [text.get_text() for text in degrees.texts] == ["-3", "-12"]
    assert [list(line.get_ydata()) for axes in (degrees, mm) for line in axes.lines[-1:]] == [[3.9] * 2, [4.6] * 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["paper", "raw", "translated"]


def test_results_of_a_small_run_say_so(tmp_path: Path) -> None:
    path = tmp_path / "figure10.json"
    path.write_text(json.dumps({"small": True, "rows": [row("walking", "raw", 4.0, 3)]}))
    section = error_section(path)
    assert section.lead.startswith("A SMALL RUN")
    assert section.table[1] == ("walking", "raw", "true", "3 of 12", "4.00 ± 0.10", "4.00 ± 0.10", "75% (5°, 5 mm)")
    assert CliRunner().invoke(app, ["report", "errors", str(path)]).exit_code == 0
    assert len(pictures(tmp_path / "figure10.html")) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected JSON"),
        ("{}", "scenarios and styles, found no 'rows'"),
        ('{"rows": []}', "rows: expected at least one"),
        ('{"rows": [{"scenario": "walking"}]}', "rows: expected style in each"),
        ("[]", "expected JSON"),
    ],
)
def test_other_results_are_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    message = refused(["errors", str(path)])
    assert message.startswith(f"error: {path}: ")
    assert says in message


@pytest.mark.parametrize("change", [{"rotation_error_deg": 3.0}, {"translation_error_mm": {"median": 1.0}}])
def test_results_without_a_summarys_statistics_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rows": [row("walking", "raw", 4.0) | change]}))
    assert "expected the statistics of a summary" in refused(["errors", str(path)])


def test_results_without_a_pose_are_drawn() -> None:
    figure = error_bars([row("walking", "raw", None, 12)], {})
    figure.draw_without_rendering()
    degrees, _ = figure.axes
    assert [text.get_text() for text in degrees.texts] == ["-12"]
