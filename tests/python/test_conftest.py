"""The test helpers themselves: what happens without a GPU and without the real data."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluoropose import _core

pytest_plugins = ["pytester"]

_PROBE = """
import pytest

@pytest.mark.needs_cuda
def test_on_the_gpu():
    pass

def test_on_real_data(data_dir):
    assert data_dir.is_dir()
"""


@pytest.fixture
def probe(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers = needs_cuda: needs a CUDA device\n")
    pytester.makepyfile(_PROBE)
    monkeypatch.setattr(_core, "cuda_device_count", lambda: 0)
    monkeypatch.delenv("FLUOROPOSE_REQUIRE_CUDA", raising=False)
    monkeypatch.setenv("FLUOROPOSE_DATA", str(pytester.path))
    return pytester


def test_without_a_gpu_the_skip_and_its_reason_are_visible(probe: pytest.Pytester) -> None:
    result = probe.runpytest_inprocess("-ra")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*needs a CUDA device*"])


def test_a_required_gpu_that_is_missing_fails(probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUOROPOSE_REQUIRE_CUDA", "1")
    result = probe.runpytest_inprocess("-ra")
    # The failure is raised during set-up, which pytest counts as an error.
    result.assert_outcomes(passed=1, errors=1)


def test_missing_data_skips_and_names_the_folder(probe: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUOROPOSE_DATA", str(probe.path / "nowhere"))
    result = probe.runpytest_inprocess("-ra")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*nowhere; set FLUOROPOSE_DATA*"])
