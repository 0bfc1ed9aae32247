"""Trial files: what is refused, and how frames get their times and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fluoropose.errors import FileFormatError, InputError
from fluoropose.io.frames import frame_range
from fluoropose.registration.trial import TrialFrames, load_trial, read_times

GOOD = """
rig = "rig.json"
bone = "/elsewhere/bone.h5"
bundle = "b.fpbundle"
frames = ["view1", "view2"]
out = "out"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "walking.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name in names:
        Image.fromarray(rng.integers(0, 255, (8, 9), dtype=np.uint8)).save(folder / f"{name}.png")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    trial = load_trial(write(tmp_path, GOOD))
    assert trial.rig == tmp_path / "rig.json"
    assert trial.bone == Path("/elsewhere/bone.h5")
    assert trial.frames == (tmp_path / "view1", tmp_path / "view2")
    assert trial.polarity == "bright_air"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("frame_rate = 30", r"walking\.toml: frame_rate: unknown key, did you mean 'frame_rate_hz'\?"),
        ("[checks]\nmax_residual = 3", r"checks\.max_residual: unknown key, did you mean 'max_residual_mm'\?"),
        ("frame_rate_hz = -3", r"frame_rate_hz: .*greater than 0, found -3"),
        ('polarity = "dark"', r"polarity: .*'bright_air' or 'bright_bone', found 'dark'"),
        ('times = "t.csv"\nframe_rate_hz = 30', "times, frame_rate_hz: expected at most one"),
        ("[checks]\nmin_landmarks = 2", r"checks\.min_landmarks: .*3, found 2"),
        ("polarity = bright_air", "expected a TOML file"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load_trial(write(tmp_path, GOOD + change + "\n"))


def test_all_missing_fields_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"rig: missing; bone: missing.*out: missing"):
        load_trial(write(tmp_path, 'bundle = "b"\nframes = ["a"]\n'))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_trial(tmp_path / "nowhere.toml")


def test_unequal_frame_counts_are_told_with_both_numbers(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["left", "middle", "right"])
    write_frames(tmp_path / "view2", ["left", "right"])
    with pytest.raises(FileFormatError, match=r"same number of frames .* 3 in .*view1, 2 in .*view2"):
        TrialFrames.open(load_trial(write(tmp_path, GOOD)))


def test_frames_are_paired_by_number_where_one_is_missing(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["a0", "a1", "a2", "a4"])
    write_frames(tmp_path / "view2", ["b0", "b2", "b3", "b4"])
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD)))
    assert frames.numbers == (0, 1, 2, 3, 4)
    assert [frames.name(i) for i in range(5)] == ["a0", "a1", "a2", "b3", "a4"]
    one, other = frames.sources
    np.testing.assert_array_equal(other.read(2), np.asarray(Image.open(tmp_path / "view2" / "b2.png")))
    np.testing.assert_array_equal(one.read(4), np.asarray(Image.open(tmp_path / "view1" / "a4.png")))
    with pytest.raises(FileFormatError, match=r"view1: frame b3 is missing"):
        one.read(3)
    with pytest.raises(FileFormatError, match=r"view2: frame a1 is missing"):
        other.read(1)


def test_views_that_count_alike_from_different_numbers_are_paired_in_order(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["0", "1", "3"])
    write_frames(tmp_path / "view2", ["11", "12", "14"])
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD)))
    assert frames.numbers == (0, 1, 3)
    assert frames.sources[1].name(2) == "14"
    (tmp_path / "view2" / "12.png").unlink()
    with pytest.raises(FileFormatError, match=r"found 0 to 3 in .*view1, 11 to 14 in .*view2, 0 of them in common"):
        TrialFrames.open(load_trial(write(tmp_path, GOOD)))


def test_views_of_which_one_lost_its_first_and_one_its_last_frame_are_not_shifted(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["1", "2", "3", "4"])
    write_frames(tmp_path / "view2", ["2", "3", "4", "5"])
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD)))
    assert frames.numbers == (1, 2, 3, 4, 5)
    assert frames.sources[1].name(1) == "2"


def test_numbers_that_are_times_of_two_clocks_are_refused(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["a100", "a133", "a167"])
    write_frames(tmp_path / "view2", ["b101", "b133", "b168"])
    with pytest.raises(FileFormatError, match=r"numbers at the ends of their names .*, 1 of them in common"):
        TrialFrames.open(load_trial(write(tmp_path, GOOD)))


def test_times_are_those_of_the_numbers_where_pairs_are_missing(tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        write_frames(tmp_path / view, ["0", "1", "2", "8"])
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD + "frame_rate_hz = 30\n")))
    assert frames.times_s == pytest.approx((0, 1 / 30, 2 / 30, 8 / 30))


def test_a_pair_that_lacks_the_first_view_s_frame_has_its_time(tmp_path: Path) -> None:
    write_frames(tmp_path / "view1", ["a0", "a1", "a3"])
    write_frames(tmp_path / "view2", ["b0", "b1", "b2", "b3"])
    (tmp_path / "t.csv").write_text("frame,time_s\na0,0.5\na1,0.6\na2,0.7\na3,0.8\n")
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD + 'times = "t.csv"\n')))
    assert frames.times_s == (0.5, 0.6, 0.7, 0.8)


def test_more_bits_than_are_stored_are_refused(tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        write_frames(tmp_path / view, ["0", "1"])
    with pytest.raises(FileFormatError, match=r"view1: bit_depth: expected at most the 8 bits of its pixels, found 12"):
        TrialFrames.open(load_trial(write(tmp_path, GOOD + "bit_depth = 12\n")))


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["run7_0138", "run7_0140", "run7_0141"], (138, 140, 141)),
        (["0000", "0001"], (0, 1)),
        (["left", "right"], (0, 1)),  # no numbers: positions
        (["a1", "b1"], (0, 1)),  # the same number twice: positions
    ],
)
def test_frames_get_the_numbers_of_their_files(tmp_path: Path, names: list[str], numbers: tuple[int, ...]) -> None:
    for view in ("view1", "view2"):
        write_frames(tmp_path / view, names)
    frames = TrialFrames.open(load_trial(write(tmp_path, GOOD + "frame_rate_hz = 50\n")))
    assert frames.numbers == numbers
    assert frames.times_s == tuple(pytest.approx((number - numbers[0]) / 50) for number in numbers)


def test_nothing_tells_the_rate_of_pictures(tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        write_frames(tmp_path / view, ["0", "1"])
    assert np.isnan(TrialFrames.open(load_trial(write(tmp_path, GOOD))).times_s).all()


def test_times_come_from_the_file_however_frames_are_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("frame,time_s\n0,0.5\n0001,0.75\nextra,9\n")
    assert read_times(tmp_path / "t.csv", ["0000", "1"]) == (0.5, 0.75)
    (tmp_path / "t.csv").write_text("frame,time_s\n²,0.5\n³,0.75\n", encoding="utf-8")
    assert read_times(tmp_path / "t.csv", ["²", "³"]) == (0.5, 0.75)


def test_times_that_a_spreadsheet_wrote_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeffframe,time_s\n0,0.5\n1,0.75\n", encoding="utf-8")
    assert read_times(tmp_path / "t.csv", ["0", "1"]) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,time_s\n0,0.1\n", "no time for 1 of 2 frames, the first is 1"),
        ("frame,time_s\n0,0.1\n1,0.1\n", "time_s: frame 1: expected more than 0.1 s, found 0.1 s"),
        ("frame,time_s\n0,soon\n1,0.1\n", "time_s: expected seconds"),
        ("frame,seconds\n0,0.1\n", "expected rows with the columns frame, time_s"),
        ("", "expected rows with the columns frame, time_s"),
    ],
)
def test_wrong_times_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FileFormatError, match=rf"t\.csv: {message}"):
        read_times(tmp_path / "t.csv", ["0", "1"])


@given(st.integers(1, 50), st.integers(0, 60), st.integers(0, 60))
def test_frame_ranges_are_slices_or_refused(count: int, start: int, stop: int) -> None:
    expected = list(range(count))[start:stop]
    if expected:
        assert list(frame_range(f"{start}:{stop}", count)) == expected
    else:
        with pytest.raises(InputError, match=rf"expected A:B .* '{start}:{stop}'"):
            frame_range(f"{start}:{stop}", count)


@pytest.mark.parametrize("text", ["5", "a:b", "", "1:2:3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected A:B"):
        frame_range(text, 10)


def test_open_ranges() -> None:
    assert frame_range(None, 4) == range(4)
    assert frame_range(":2", 4) == range(2)
    assert frame_range("-1:", 4) == range(3, 4)
