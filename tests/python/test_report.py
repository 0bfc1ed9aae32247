"""What the report of a trial says of its numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import PoseRow, write_poses
from fluoropose.registration.register import register_trial
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import summarise
from fluoropose.registration.triangulation import triangulate
from fluoropose.report import write_report
from fluoropose.report.compare import compare_poses, record_comparison
from fluoropose.report.report import _curves, _fit_mm
from trial_laboratory import Laboratory
from triangulation_scene import PAIRS, scene


@pytest.fixture(scope="module", params=[True, False], ids=["refined", "landmarks"])
def refine(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def page(lab: Laboratory, refine: bool, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("out")
    trial = lab.trial(out, refine=refine)
    result = register_trial(trial, "0:4")
    environment = result.summary.environment.model_copy(update={"commit": None})
    summary = result.summary.model_copy(update={"environment": environment})
    write_report(out / "report.html", trial, result.rows, summary, dict(enumerate(lab.truth)))
    return (out / "report.html").read_text(encoding="utf-8")


def test_uncertainty_is_said_to_come_from_where_it_does(page: str, refine: bool) -> None:
    (lead,) = re.findall(r"Quality per frame</h2>\s*<p class=\"lead\">(.*?)</p>", page)
    assert ("noise of the images" in lead) == refine
    assert ("several times" in lead) == refine
    assert "follows from these distances" in lead


def test_table_tells_what_speaks_for_every_pose(page: str, refine: bool) -> None:
    table = page[page.index("<h2>All frames</h2>") :]
    heads = re.findall(r"<th[^>]*>(.*?)</th>", table)
    cells = dict(zip(heads, re.findall(r"<td[^>]*>(.*?)</td>", table), strict=False))
    assert 0 < float(cells["landmarks off, mm"]) < 20
    assert int(cells["landmarks"]) > 3
    assert 0 < float(cells["sd °"]) < 10
    assert 0 < float(cells["sd mm"]) < 10
    assert (cells["likeness"] == "–") != refine
    assert cells["source"] == ("network+refinement" if refine else "network")


def test_reference_lies_above_the_bone_and_nothing_is_said_of_no_commit(page: str) -> None:
    pictures = re.findall(r"<svg viewBox.*?</svg>", page)
    assert pictures
    for picture in pictures:
        assert 0 < picture.index('class="bone"') < picture.index('class="truth"')
    assert "commit" not in page


def test_landmarks_are_as_far_off_as_their_residuals_say() -> None:
    _, rig, landmarks, _, seen = scene(3)
    found = triangulate(landmarks, seen, rig, PAIRS)
    per_view = np.sqrt((found.residuals_mm**2).sum(axis=2).mean(axis=1))
    row = PoseRow.from_registration(0, 0.0, found)
    assert _fit_mm(row, 2) == pytest.approx(per_view.mean(), rel=1e-6)
    assert np.isnan(_fit_mm(PoseRow.failed(0, 0.0, "nothing seen"), 2))


def test_a_reference_does_not_leap_by_a_turn_where_a_pair_failed() -> None:
    def turned(deg: float) -> Pose:
        return Pose.from_euler_zyx_deg([deg, 0, 0], [0, 0, 0])

    rows = [PoseRow(k, 0.1 * k, Status.OK, world_from_bone=turned(179 + k)) for k in range(4)]
    rows[2] = PoseRow.failed(2, 0.2, "nothing seen")
    charts = _curves(rows, {k: turned(-179.5 + k) for k in range(4)})
    chart = next(one["svg"] for one in charts if one["name"] == "θx")
    path = re.findall(r'<path class="reference" d="([^"]+)"', chart)[0]
    heights = [float(point.split()[1]) for point in re.split("[ML]", path)[1:]]
    np.testing.assert_allclose(np.diff(heights), np.diff(heights)[0], atol=0.2)


def test_pairs_without_a_reference_are_counted(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path)
    rows = [PoseRow.failed(k, 0.1 * k, "nothing seen") for k in range(4)]
    rows[0] = PoseRow(0, 0.0, Status.OK, world_from_bone=lab.truth[0])
    write_poses(tmp_path / "poses.csv", rows)
    summarise(4, 3).write(tmp_path / "summary.json")
    write_poses(tmp_path / "reference.csv", rows[:1])
    record_comparison(trial, compare_poses(trial, tmp_path / "reference.csv"))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>1 / 4</b><span>pairs with a pose</span>" in text
    assert "3 of 4 pairs have no pose" in text
    assert "Table of all 4 pairs" in text
    assert "<b>100.0%</b><span>of 1 pairs with a reference within" in text
