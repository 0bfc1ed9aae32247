"""From calibration images to a rig, end to end: a simulated laboratory, lab_head's files, and bad input."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.patches import Polygon
from matplotlib.quiver import QuiverKey

from fluoropose._toml import read_toml
from fluoropose.calibration import calibrate, calibrate_rig, write_config
from fluoropose.calibration.calibrate_rig import RigCalibration
from fluoropose.calibration.config import CalibrationConfig
from fluoropose.calibration.plate import fit_plate
from fluoropose.calibration.report import _figure, notes
from fluoropose.calibration.stills import read_still
from fluoropose.errors import FileFormatError, FluoroposeError
from fluoropose.geometry import View
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.simulate.folder import write_calibration
from fluoropose.simulate.laboratory import Nominal, install


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated laboratory's folder, with its CALIBRATION.toml."""
    folder = tmp_path_factory.mktemp("laboratory")
    nominal = Nominal(image_size_px=512, intensifier_diameter_mm=305.0)
    write_calibration(folder, install(nominal, placement_count=4, seed=2), np.random.default_rng(2))
    write_config(folder / "calibration", folder / "CALIBRATION.toml")
    return folder


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Callable[[Rig, Path], dict[str, Any]]:
    """The comparison with a laboratory's truth that the benchmarks use."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "bench"))
    from lab_head_truth import calibration_errors

    return calibration_errors  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_simulated_laboratory_is_calibrated(
    laboratory: Path, tmp_path: Path, errors: Callable[[Rig, Path], dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = calibrate(laboratory / "CALIBRATION.toml", tmp_path / "out" / "rig.json")
    rig = Rig.load(tmp_path / "out" / "rig.json")
    miss = errors(rig, laboratory / "truth" / "rig.json")
    # Measured: distortion 0.012 px, sources 1.6 mm at worst (predicted 1.3), between the axes 0.034 degrees, the second
    # view's pose 0.053 degrees, triangulation 0.006 mm: four placements with beads measured to 0.011 mm.
    assert max(miss["distortion_rms_px"]) < 0.03
    assert np.abs(miss["source_error_mm"]).max() < 2.5
    assert abs(miss["angle_between_axes_error_deg"]) < 0.12
    assert miss["view_2_turn_error_deg"] < 0.2
    assert miss["triangulation_rms_mm"] < 0.02
    # The errors are what the reported standard deviations promise.
    assert found.alignment is not None
    assert np.abs(np.array(miss["source_error_mm"]) / found.alignment.source_sd_mm).max() < 4

    # The world: origin at the centre of view 1's image plane, x along u, y along v, source at z = -sdd.
    first = rig.views[0]
    assert np.allclose(first.centre, 0, atol=1e-9)
    assert np.allclose(first.u_step / np.linalg.norm(first.u_step), [1, 0, 0], atol=1e-9)
    assert np.allclose(first.v_step / np.linalg.norm(first.v_step), [0, 1, 0], atol=1e-9)
    assert first.source[2] == pytest.approx(-first.sdd_mm)

    report = json.loads((tmp_path / "out" / "rig_report.json").read_text(encoding="utf-8"))
    assert [view["leave_out_rms_px"] < 0.1 for view in report["views"]] == [True, True]
    assert report["alignment"]["undetermined"] == []
    assert report["alignment"]["angle_between_axes_deg"] == found.alignment.angles_deg.tolist()
    picture = iio.imread(tmp_path / "out" / "rig_report.png")
    assert picture.shape[0] > 500
    assert np.ptp(picture) > 100
    _drawn_to_scale(found)
    printed = capsys.readouterr().out
    assert "leave-out error" in printed
    assert "rig.json" in printed


@pytest.mark.slow
@pytest.mark.needs_data
def test_lab_head_is_calibrated_to_hundredths_of_a_pixel(
    data_dir: Path, tmp_path: Path, errors: Callable[[Rig, Path], dict[str, Any]]
) -> None:
    folder = data_dir / "lab_head"
    found = calibrate_rig(write_config(folder / "calibration", tmp_path / "CALIBRATION.toml"))
    miss = errors(found.rig, folder / "truth" / "rig.json")
    # Measured 0.009 and 0.007 px over the field, 0.07 px at worst, on the rim.
    assert max(miss["distortion_rms_px"]) < 0.015
    assert max(miss["distortion_max_px"]) < 0.15
    # Measured 0.58, 0.11, 0.04 mm in view 1 and 0.02, 0.13, -0.24 mm in view 2; the predicted deviations are 0.4 mm.
    assert np.abs(miss["source_error_mm"]).max() < 1.0
    assert np.abs(miss["principal_point_error_mm"]).max() < 1.0
    # Measured 0.024 degrees between the axes, 0.025 degrees and 0.17 mm in the second view's pose.
    assert abs(miss["angle_between_axes_error_deg"]) < 0.05
    assert miss["view_2_turn_error_deg"] < 0.06
    assert miss["view_2_position_error_mm"] < 0.5
    # Measured 0.0024 mm: what the calibration alone costs a triangulated point.
    assert miss["triangulation_rms_mm"] < 0.01
    assert found.alignment is not None
    # Measured 0.0062 mm per coordinate on the image plane, 0.015 px.
    assert found.alignment.noise_mm < 0.01
    assert found.alignment.undetermined == ()


def test_one_placement_keeps_what_it_cannot_determine(laboratory: Path, tmp_path: Path) -> None:
    text = (laboratory / "CALIBRATION.toml").read_text(encoding="utf-8")
    for number in (1, 2):
        only = laboratory / "calibration" / f"alignment_00_view{number}.png"
        text = re.sub(rf'alignment = \[\n(  "[^"]*view{number}\.png",\n)*\]', f'alignment = ["{only}"]', text)
    (tmp_path / "one.toml").write_text(text, encoding="utf-8")
    found = calibrate(tmp_path / "one.toml", tmp_path / "rig.json")
    assert found.alignment is not None
    assert found.alignment.undetermined
    report = json.loads((tmp_path / "rig_report.json").read_text(encoding="utf-8"))
    assert any("do not determine" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (
            "source_to_detector_mm = 1150.0",
            "source_to_detector_mm = 1.15",
            "views.0.source_to_detector_mm.*millimetres",
        ),
        ("spacing_mm = 10.0", "spacing_mm = 0.01", "plate.spacing_mm.*millimetres"),
        ("spacing_mm = 10.0", "spacing_mm = 5.0", "field is 1.* mm wide"),
        ("[plate]", "colour = 1\n[plate]", "colour: unknown key"),
        ("order =", "ordre =", "ordre: unknown key, did you mean 'order'"),
        ('order = "auto"', "order = 40", "plate.order"),
        ("plate_view1.png", "plate_view9.png", "plate_view9.png"),
        ("plate_view1.png", "flat_view1.png", "beads of a plate"),
        ("alignment_00_view1.png", "flat_view1.png", "flat_view1.png: expected at least 4 beads"),
        ("alignment_tool.csv", "nominal.toml", "expected the columns"),
    ],
)
def test_wrong_configurations_are_refused(laboratory: Path, tmp_path: Path, old: str, new: str, named: str) -> None:
    text = (laboratory / "CALIBRATION.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "wrong.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FluoroposeError, match=named):
        calibrate(tmp_path / "wrong.toml", tmp_path / "rig.json")
    assert not list(tmp_path.glob("rig*"))


def test_views_must_have_the_same_placements(laboratory: Path, tmp_path: Path) -> None:
    text = (laboratory / "CALIBRATION.toml").read_text(encoding="utf-8")
    without = "\n".join(line for line in text.splitlines() if "alignment_00_view2" not in line)
    (tmp_path / "uneven.toml").write_text(without, encoding="utf-8")
    with pytest.raises(FileFormatError, match="4 in view 1, 3 in view 2"):
        calibrate_rig(tmp_path / "uneven.toml")
    mixed = text.replace("alignment_01_view2", "alignment_02_view2", 1)
    (tmp_path / "mixed.toml").write_text(mixed, encoding="utf-8")
    # Two views that saw different placements contradict each other; the beads then miss by far more than noise.
    with pytest.raises(FluoroposeError, match=r"saw the same placement"):
        calibrate_rig(tmp_path / "mixed.toml")


def test_bright_bone_of_fewer_bits_than_are_stored(tmp_path: Path) -> None:
    value = np.array([[1.0, 0.5], [0.25, 0.0]])
    iio.imwrite(tmp_path / "a.png", np.round(4095 * (1 - value)).astype(np.uint16))
    np.testing.assert_allclose(read_still(tmp_path / "a.png", "bright_bone", 12), value, atol=1e-3)
    with pytest.raises(FileFormatError, match=r"a\.png: bit_depth: expected values below 1024, found 4095"):
        read_still(tmp_path / "a.png", "bright_bone", 10)
    with pytest.raises(FileFormatError, match=r"a\.png: bit_depth: expected at most the 16 bits"):
        read_still(tmp_path / "a.png", "bright_bone", 17)


def test_a_laboratory_with_bright_bone_of_12_bits_is_calibrated(laboratory: Path, tmp_path: Path) -> None:
    shutil.copytree(laboratory / "calibration", tmp_path / "calibration")
    for path in (tmp_path / "calibration").glob("*_view1.png"):
        iio.imwrite(path, 4095 - 16 * iio.imread(path).astype(np.uint16))
    text = write_config(tmp_path / "calibration", tmp_path / "CALIBRATION.toml").read_text(encoding="utf-8")
    head, first, _ = text.split("[[views]]")
    one = re.sub(r"tool = .*\n", "", head) + "[[views]]" + re.sub(r"(?s)alignment = .*?\]\n", "", first)
    path = tmp_path / "one.toml"
    path.write_text('polarity = "bright_bone"\n' + one, encoding="utf-8")
    with pytest.raises(FileFormatError, match=r"found 0 dark spots: are polarity and bit_depth right\?"):
        calibrate_rig(path)
    path.write_text('polarity = "bright_bone"\nbit_depth = 12\n' + one, encoding="utf-8")
    assert len(calibrate_rig(path).plates[0].index) > 500


def test_damaged_images_are_refused_by_name(laboratory: Path, tmp_path: Path) -> None:
    text = (laboratory / "CALIBRATION.toml").read_text(encoding="utf-8")
    original = laboratory / "calibration" / "plate_view1.png"
    damaged = tmp_path / "plate.png"
    (tmp_path / "damaged.toml").write_text(text.replace(str(original), str(damaged)), encoding="utf-8")
    image = iio.imread(original)
    for content, named in (
        (np.zeros_like(image), "contrast"),
        (image[:-8], "size"),
        (np.dstack([image, image // 2, image]), "grey image"),
    ):
        iio.imwrite(damaged, content)
        with pytest.raises(FileFormatError, match=named) as caught:
            calibrate_rig(tmp_path / "damaged.toml")
        assert "plate.png" in str(caught.value)
    damaged.write_bytes(original.read_bytes()[:2000])
    with pytest.raises(FileFormatError, match=r"plate\.png: cannot be read"):
        calibrate_rig(tmp_path / "damaged.toml")


def test_a_folder_s_name_may_hold_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "O'Brien's \"lab\" \\ Zürich"
    folder.mkdir()
    (folder / "nominal.toml").write_text(
        "plate_bead_spacing_mm = 10\nintensifier_diameter_mm = 300\nangle_between_axes_deg = 60\n"
        "source_to_intensifier_mm = [1000, 1100]\n"
    )
    for view in (1, 2):
        (folder / f"alignment_00_view{view}.png").touch()
    config = read_toml(write_config(folder, tmp_path / "out.toml"), CalibrationConfig)
    assert config.tool == folder / "alignment_tool.csv"
    assert config.views[1].alignment == (folder / "alignment_00_view2.png",)


@pytest.mark.parametrize(
    ("text", "named"),
    [("", "plate_bead_spacing_mm: missing"), ("plate_bead_spacing_mm = [", "nominal.toml"), (None, "nominal.toml")],
)
def test_a_folder_without_nominal_facts_is_refused(tmp_path: Path, text: str | None, named: str) -> None:
    if text is not None:
        (tmp_path / "nominal.toml").write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=named):
        write_config(tmp_path, tmp_path / "out.toml")


def _drawn_to_scale(found: RigCalibration) -> None:
    """Check that the arrows have a key, and that both histograms of a view count in the same bins."""
    axes = _figure(found).axes
    for arrows, histogram, plate in zip(axes[:2], axes[2:], found.plates, strict=True):
        (key,) = [one for one in arrows.get_children() if isinstance(one, QuiverKey)]
        assert key.text.get_text() == f"{3 * plate.leave_out_rms_px:.2g} px"
        left_out, fit = (np.unique(one.get_xy()[:, 0]) for one in histogram.patches if isinstance(one, Polygon))
        np.testing.assert_array_equal(left_out, fit)


def test_a_folder_whose_views_saw_different_placements_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nominal.toml").write_text(
        "plate_bead_spacing_mm = 10\nintensifier_diameter_mm = 300\nangle_between_axes_deg = 60\n"
        "source_to_intensifier_mm = [1000, 1100]\n"
    )
    for name in ("00_view1", "00_view2", "01_view1", "02_view2"):
        (tmp_path / f"alignment_{name}.png").touch()
    with pytest.raises(FileFormatError, match=r"alignment_02_view1\.png: missing; other views have it"):
        write_config(tmp_path, tmp_path / "out.toml")


def test_a_plate_of_which_half_is_left_out_is_told_of() -> None:
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(10), np.arange(10)))
    plate = fit_plate(np.column_stack([20.0 * i + 5, 20.0 * j + 5]), np.column_stack([i, j]), 10.0, (200, 200), 3)
    view = {"name": "left", "plate": "plate.png", "source_to_detector_mm": 1000.0}
    config = CalibrationConfig.model_validate({"plate": {"spacing_mm": 10.0}, "views": [view]})
    scope = Fluoroscope(View.from_sdd((200, 200), 1000.0, 0.5, 0.5, 0.0, 0.0))
    whole, half = (
        notes(RigCalibration(Rig((scope,)), config, (replace(plate, found=found),), None)) for found in (110, 210)
    )
    assert half == [
        "left: only 100 of 210 spots of the plate could be measured and belong to one grid; what lies beyond these "
        "beads is extrapolated",
        *whole,
    ]
