"""`napari-medsam propagate` as the shell calls it: real files in, labels, scores and messages out."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_medsam import api
from napari_medsam.cli import main
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.io import read_image, read_labels, read_names, write_labels
from napari_medsam.phantom import LIVER
from napari_medsam.propagation.prompting import Feed, Prompting
from napari_medsam.session import Session

from .following import HOW, STACK, WIDE, WINDOW, BrightFake, box_of, truth, volume
from .test_cli import TRUTH, Outcome, commas, dice, saved

GENTLE = ("--margin", "2", "--window", "CT abdomen")


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("image"))


@pytest.fixture
def propagate(capsys, ct: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Run `propagate` into `out.nii.gz`, on the phantom unless another image is named."""

    def run(*words: object, image: Any = ct) -> Outcome:
        try:
            status = main(["propagate", str(image), *map(str, words), "-o", str(tmp_path / "out.nii.gz")])
        except SystemExit as exit:
            status = int(exit.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def bright(monkeypatch, tmp_path) -> Path:
    """The small volume as a file, with a model that finds what is bright."""
    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", lambda *_: BrightFake())
    path = tmp_path / "bright.nii.gz"
    write_labels(path, volume(), grid=Grid.from_spacing(volume().shape, (3.0, 1.0, 2.0)))
    return path


BRIGHT = ("--window", "0,255", "--margin", "2", "--rules", "none")


def labels_in(tmp_path: Path) -> np.ndarray:
    return read_labels(tmp_path / "out.nii.gz").array


def box(value: int, position: int) -> str:
    """`--box` of an object of the small volume."""
    found = box_of(value, STACK.plane(position)).box
    assert found is not None
    return commas(position, found.row0, found.column0, found.row1, found.column1)


def organ_box(value: int, plane: Plane, margin: int = 1) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(TRUTH[plane.key] == value)
    low = max(int(rows.min()) - margin, 0), max(int(columns.min()) - margin, 0)
    return (*low, int(rows.max()) + 1 + margin, int(columns.max()) + 1 + margin)


# -- what works ------------------------------------------------------------------------------------------------


def test_one_box_gives_the_organ_through_the_volume(propagate, tmp_path) -> None:
    done = propagate("--box", commas(5, *organ_box(LIVER.label, Plane.across(0, 5))), "--object", "liver", *GENTLE)
    assert (done.status, done.err) == (0, "")
    assert "slices" in done.out
    assert "lowest score" in done.out
    found = labels_in(tmp_path)
    assert dice(found == 1, (LIVER.label == TRUTH)) > 0.7


def test_several_objects_are_named_each_with_its_boxes(propagate, bright, tmp_path) -> None:
    done = propagate(
        *("--object", "bone", "--box", box(1, 2), "--box", box(1, 6), "--object", "block", "--box", box(2, 4)),
        *BRIGHT,
        image=bright,
    )
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path), truth())
    assert read_names(tmp_path / "out.nii.gz") == {1: "bone", 2: "block"}


def test_a_single_name_may_come_last_and_of_several_each_comes_first(propagate, bright, tmp_path) -> None:
    assert propagate("--box", box(1, 4), "--object", "bone", *BRIGHT, image=bright).status == 0
    assert read_names(tmp_path / "out.nii.gz") == {1: "bone"}
    done = propagate("--object", "bone", "--box", box(1, 4), "--object", "block", *BRIGHT, image=bright)
    assert done.status == 1
    assert "--object block has no box after it" in done.err


def test_a_range_in_any_order_and_a_stop_are_both_inclusive(propagate, bright, tmp_path) -> None:
    done = propagate("--box", box(1, 4), "--from", 6, "--to", 2, "--stop", 5, *BRIGHT, image=bright)
    assert done.status == 0
    expected = truth() == 1
    expected[[0, 1, 6, 7, 8]] = False
    assert np.array_equal(labels_in(tmp_path) == 1, expected)


def test_what_each_slice_is_asked_with_can_be_chosen(propagate, bright, monkeypatch) -> None:
    asked: list[Prompting] = []

    def seen(image: Image, tasks: Any, *, prompting: Prompting, **more: Any) -> Any:
        asked.append(prompting)
        return following(image, tasks, prompting=prompting, **more)

    following = api.propagate_image
    monkeypatch.setattr(api, "propagate_image", seen)
    assert propagate("--box", box(1, 4), *BRIGHT, image=bright).status == 0
    assert propagate("--box", box(1, 4), *BRIGHT, "--prompt", "points", "--no-motion", image=bright).status == 0
    assert asked == [Prompting(margin=2.0), Prompting(Feed.BOX_AND_POINTS, 2.0, motion=False)]


def test_a_3d_box_is_the_range_of_its_object(propagate, bright, tmp_path) -> None:
    flat = box_of(1, STACK.plane(4)).box
    assert flat is not None
    solid = commas(6, flat.row0, flat.column0, 3, flat.row1, flat.column1)
    done = propagate("--box3d", solid, *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    expected = truth() == 1
    expected[[0, 1, 2, 7, 8]] = False
    assert np.array_equal(labels_in(tmp_path) == 1, expected)


def solid_box(first: int, last: int) -> str:
    """`--box3d` of the L from a slice to another."""
    flat = box_of(1, STACK.plane(4)).box
    assert flat is not None
    return commas(first, flat.row0, flat.column0, last, flat.row1, flat.column1)


def test_a_3d_box_and_a_span_are_cut_to_the_range(propagate, bright, tmp_path) -> None:
    """Of slices 3 to 6 and 5 to 8; the middle of 3 to 6 is outside."""
    done = propagate("--box3d", solid_box(3, 6), "--from", 5, "--to", 8, *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert [z for z in range(9) if labels_in(tmp_path)[z].any()] == [5, 6]
    entry = {"slice": 4, "box": [1, 2, 9, 8], "span": [3, 6]}
    (tmp_path / "p.json").write_text(json.dumps([entry]))
    done = propagate("--boxes", tmp_path / "p.json", "--to", 5, *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert [z for z in range(9) if labels_in(tmp_path)[z].any()] == [3, 4, 5]


def test_each_object_says_where_and_why_its_directions_ended(propagate, bright) -> None:
    words = ("--object", "bone", "--box", box(1, 2), "--box", box(1, 6), "--stop", 7, *BRIGHT)
    done = propagate(*words, image=bright)
    assert (done.status, done.err) == (0, "")
    (line,) = (each for each in done.out.splitlines() if "bone" in each)
    assert line.endswith("  ended: down on slice 1, end of the range; up on slice 7, stop here")
    assert "met" not in line


@pytest.mark.parametrize("given", ["--box3d", "--boxes"])
def test_a_3d_box_of_which_a_part_was_found_points_to_the_other_way(propagate, bright, tmp_path, given: str) -> None:
    flat = box_of(1, STACK.plane(4)).box
    assert flat is not None
    entry = {"slice": 4, "box": [flat.row0, flat.column0, flat.row1, flat.column1], "span": [0, 8]}
    (tmp_path / "p.json").write_text(json.dumps([entry]))
    words = (given, solid_box(0, 8) if given == "--box3d" else tmp_path / "p.json", *BRIGHT[:4])
    done = propagate(*words, image=bright)
    assert (done.status, done.err) == (0, "")
    assert "ended: down on slice 1, nothing found; up on slice 7, nothing found" in done.out
    (note,) = (each for each in done.out.splitlines() if each.startswith("note: "))
    assert "from slice 0 to 8" in note
    assert "--way box" in note
    for more in (("--way", "box"), ("--from", 2, "--to", 6), ("--stop", 2, "--stop", 6)):
        done = propagate(*words, *more, image=bright)
        assert (done.status, done.err) == (0, "")
        assert "note: " not in done.out


def test_a_line_across_a_lesion_is_enough(propagate, bright, tmp_path) -> None:
    done = propagate("--line", "4,2,9,2,12,1,10,3,10", *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path) == 1, truth() == 2)


def test_labels_are_carried_on_and_the_file_that_they_are_from_stays(propagate, bright, tmp_path) -> None:
    started = np.where(truth() == 1, 5, 0)
    started[4:] = 0
    started[3, 1:4, 9:13] = 9
    path = tmp_path / "started.nii.gz"
    write_labels(path, started, grid=read_image(bright).grid, names={5: "bone", 9: "other"})
    before = path.read_bytes()
    done = propagate("--labels", path, "--label", 5, *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path) == 5, truth() == 1)
    assert np.array_equal(labels_in(tmp_path) == 9, started == 9)
    assert read_names(tmp_path / "out.nii.gz") == {5: "bone", 9: "other"}
    assert path.read_bytes() == before


def test_a_box_with_one_label_is_one_more_key_of_it(propagate, bright, tmp_path) -> None:
    started = np.where(truth() == 1, 5, 0)
    started[3:] = 0
    path = tmp_path / "started.nii.gz"
    write_labels(path, started, grid=read_image(bright).grid)
    words = ("--labels", path, "--label", 5, "--box", box(1, 6), "--report", tmp_path / "r.json")
    done = propagate(*words, *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path), 5 * (truth() == 1))
    report = json.loads((tmp_path / "r.json").read_text())
    assert {s["position"]: s["source"] for s in report["slices"]} == {3: 2, 4: 2, 5: 6, 6: 6, 7: 6}


def test_shapes_between_labelled_slices_need_no_model(propagate, bright, tmp_path) -> None:
    started = np.where(truth() == 2, 2, 0)
    started[4] = 0
    path = tmp_path / "started.nii.gz"
    write_labels(path, started, grid=read_image(bright).grid)
    done = propagate("--labels", path, "--label", 2, "--way", "shapes", image=bright)
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path) == 2, truth() == 2)


def test_a_prompt_file_may_give_lines_and_ranges(propagate, bright, tmp_path) -> None:
    flat = box_of(1, STACK.plane(4)).box
    assert flat is not None
    entries = [
        {"slice": 4, "box": [flat.row0, flat.column0, flat.row1, flat.column1], "span": [5, 3], "label": 7},
        {"slice": 4, "line": [[[2, 9], [2, 12]], [[1, 10], [3, 10]]], "name": "block"},
    ]
    (tmp_path / "prompts.json").write_text(json.dumps({"objects": entries, "window": [0, 255]}))
    done = propagate("--boxes", tmp_path / "prompts.json", *BRIGHT[2:], image=bright)
    assert (done.status, done.err) == (0, "")
    found = labels_in(tmp_path)
    assert [z for z in range(9) if (found[z] == 7).any()] == [3, 4, 5]
    assert np.array_equal(found == 8, truth() == 2)
    assert read_names(tmp_path / "out.nii.gz")[8] == "block"


def test_the_report_has_the_score_of_each_slice_and_why_each_direction_ended(propagate, bright, tmp_path) -> None:
    done = propagate("--box", box(1, 4), "--to", 6, *BRIGHT, "--report", tmp_path / "r.json", image=bright)
    assert done.status == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert {s["position"]: round(s["score"], 3) for s in report["slices"]} == {
        z: round((240 - 10 * z) / 255, 3) for z in range(1, 7)
    }
    assert {(e["direction"], e["why"]) for e in report["ended"]} == {
        ("up", "end of the range"),
        ("down", "end of the range"),
    }
    assert (report["cancelled"], report["error"], report["axis"]) == (False, "", 0)


def test_clean_ups_are_done_in_their_order(propagate, bright, tmp_path) -> None:
    started = np.where(truth() == 1, 1, 0)
    started[5:] = 0
    started[2, 11, 13] = 1
    path = tmp_path / "started.nii.gz"
    write_labels(path, started, grid=read_image(bright).grid)
    done = propagate("--labels", path, "--label", 1, "--clean-up", "largest,fill", *BRIGHT, image=bright)
    assert (done.status, done.err) == (0, "")
    assert np.array_equal(labels_in(tmp_path) == 1, truth() == 1)


def test_ctrl_c_writes_what_is_done_and_says_so(propagate, bright, tmp_path, monkeypatch) -> None:
    class Interrupted(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                signal.raise_signal(signal.SIGINT)
            return super().encode(plane)

    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", lambda *_: Interrupted())
    done = propagate("--box", box(1, 4), *BRIGHT, image=bright)
    assert done.status == 1
    assert "Stopped. What was found before is written." in done.err
    found = labels_in(tmp_path)
    assert [z for z in range(9) if found[z].any()] == [3, 4, 5, 6]


def test_ctrl_c_twice_leaves_the_slice_in_hand_and_writes_what_is_done(
    propagate, bright, tmp_path, monkeypatch
) -> None:
    class Interrupted(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().encode(plane)

    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", lambda *_: Interrupted())
    done = propagate("--box", box(1, 4), *BRIGHT, image=bright)
    assert done.status == 1
    assert "Stopped. What was found before is written." in done.err
    assert [z for z in range(9) if labels_in(tmp_path)[z].any()] == [3, 4, 5]


@pytest.mark.parametrize(("presses", "status"), [(2, 1), (3, 130)])
def test_once_the_slices_are_left_ctrl_c_must_be_pressed_twice_more_to_lose_them(
    propagate, bright, tmp_path, monkeypatch, presses: int, status: int
) -> None:
    class Interrupted(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                signal.raise_signal(signal.SIGINT)
            return super().encode(plane)

    def late(self: Any, growth: Any) -> Any:
        for _ in range(presses - 1):
            signal.raise_signal(signal.SIGINT)
        return write(self, growth)

    write = Session.write_growth
    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", lambda *_: Interrupted())
    monkeypatch.setattr(Session, "write_growth", late)
    done = propagate("--box", box(1, 4), *BRIGHT, image=bright)
    assert done.status == status
    assert (tmp_path / "out.nii.gz").exists() == (status == 1)
    assert (
        done.err.splitlines()[-1]
        == {
            1: "napari-medsam: Stopped. What was found before is written.",
            130: "napari-medsam: Interrupted.",
        }[status]
    )


def test_ctrl_c_before_the_run_is_no_traceback(propagate, bright, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", interrupted)
    done = propagate("--box", box(1, 4), image=bright)
    assert (done.status, done.err) == (130, "napari-medsam: Interrupted.\n")


def test_an_object_that_could_not_be_written_is_not_reported_as_found(propagate, bright, tmp_path) -> None:
    full = tmp_path / "full.nii.gz"
    write_labels(full, np.full(volume().shape, 9), grid=read_image(bright).grid, names={9: "all"})
    words = ("--labels", full, "--object", "x", "--box", box(1, 4), *BRIGHT)
    done = propagate(*words, image=bright)
    assert (done.status, done.out) == (1, "")
    assert "'x' was found on slices 1 to 7" in done.err
    assert "other objects (all)" in done.err
    assert not (tmp_path / "out.nii.gz").exists()
    assert propagate(*words, "--overwrite", image=bright).status == 0
    part = np.zeros(volume().shape, dtype=np.uint8)
    part[5:] = 9
    write_labels(full, part, grid=read_image(bright).grid)
    done = propagate(*words, "--report", tmp_path / "r.json", image=bright)
    assert (done.status, done.err) == (0, "")
    assert "slices 1 to 4" in done.out
    assert "note: 'x' was found on slices 5 to 7, where every pixel" in done.out
    report = json.loads((tmp_path / "r.json").read_text())
    assert [s["position"] for s in report["slices"]] == [1, 2, 3, 4]
    assert [s["position"] for s in report["hidden"]] == [5, 6, 7]


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        (("--labels", "out.nii.gz", "--label", "1"), "out.nii.gz"),
        (("--box", "4,1,2,9,8", "--labels", "out.nii.gz"), "out.nii.gz"),
        (("--box", "4,1,2,9,8", "--report", "bright.nii.gz"), "bright.nii.gz"),
        (("--box", "4,1,2,9,8", "--labels", "out.nii.gz", "-o", "new", "--report", "out.nii.gz"), "out.nii.gz"),
        (("--boxes", "p.json", "--report", "p.json"), "p.json"),
        (("--box", "4,1,2,9,8", "--report", "sub/../fresh.nii.gz", "-o", "fresh"), "fresh.nii.gz"),
    ],
)
def test_no_file_that_is_read_or_just_written_is_written_over(
    bright, tmp_path, monkeypatch, capsys, words, lost: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    write_labels("out.nii.gz", truth(), grid=read_image(bright).grid)
    (tmp_path / "p.json").write_text(json.dumps([{"slice": 4, "box": [1, 2, 9, 8]}]))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["propagate", str(bright), "-o", "out.nii.gz", *words]) == 1
    err = capsys.readouterr().err
    assert lost in err
    assert "Choose another" in err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_prompt_file_with_something_unknown_is_told_of_all_that_there_may_be(propagate, bright, tmp_path) -> None:
    (tmp_path / "p.json").write_text(json.dumps([{"slice": 4, "boxx": [1, 2, 9, 8]}]))
    done = propagate("--boxes", tmp_path / "p.json", image=bright)
    assert "may hold box, label, line, name, points, slice, span, strokes, view, nothing else" in done.err


def test_one_axis_of_a_line_needs_no_list_around_it(propagate, bright, tmp_path) -> None:
    found = []
    for line in ([[2, 9], [2, 12]], [[[2, 9], [2, 12]]], [[[2, 9], [2, 12]], []]):
        (tmp_path / "p.json").write_text(json.dumps([{"slice": 4, "line": line}]))
        done = propagate("--boxes", tmp_path / "p.json", *BRIGHT, image=bright)
        assert (done.status, done.err) == (0, "")
        found.append(labels_in(tmp_path))
    assert found[0].any()
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    "line",
    [5, "ab", {}, [], [[2, 9]], [[2, 9], [2, 12], [3, 3]], [[[2, 9], [2, 12]]] * 3, [[10**400, 9], [2, 12]], [[2], 9]],
    ids=lambda line: json.dumps(line)[:40],
)
def test_a_line_that_is_none_is_explained(propagate, bright, tmp_path, line: Any) -> None:
    (tmp_path / "p.json").write_text(json.dumps([{"slice": 4, "line": line}]))
    done = propagate("--boxes", tmp_path / "p.json", image=bright)
    assert (done.status, done.out) == (1, "")
    assert "[[row, column], [row, column]]" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        *({"model": 5}, {"window": {}}, {"label": float("inf")}, {"name": 3}, {"points": "abc"}),
        {"strokes": [[[0, 0], [1e12, 0]]]},
    ],
    ids=str,
)
def test_a_prompt_file_with_a_value_of_the_wrong_kind_is_explained(propagate, ct, tmp_path, wrong: Any) -> None:
    entry = {"slice": 4, "box": [10, 10, 20, 30]}
    both = {"objects": [entry], **wrong} if wrong.keys() & {"model", "window"} else [{**entry, **wrong}]
    (tmp_path / "p.json").write_text(json.dumps(both))
    done = propagate("--boxes", tmp_path / "p.json")
    assert (done.status, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1


def test_the_help_says_what_a_line_in_a_prompt_file_is(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["propagate", "--help"])
    assert '"line": [[row, column], [row, column]]' in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("report", "word"), [("folder", "is a folder"), ("out.tsv", "names of the labels")])
def test_a_report_that_cannot_be_written_is_refused_before_the_run(
    propagate, bright, tmp_path, monkeypatch, report: str, word: str
) -> None:
    def loads(*_: Any) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", loads)
    (tmp_path / "folder").mkdir()
    done = propagate("--box", box(1, 4), "--report", tmp_path / report, image=bright)
    assert done.status == 1
    assert word in done.err
    assert not (tmp_path / "out.nii.gz").exists()


def test_an_error_half_way_keeps_what_is_done(propagate, bright, tmp_path, monkeypatch) -> None:
    class Short(BrightFake):
        def encode(self, plane):
            if self.encoded == 3:
                raise MemoryError
            return super().encode(plane)

    monkeypatch.setattr("napari_medsam.cli.propagate.model_of", lambda *_: Short())
    done = propagate("--box", box(1, 4), *BRIGHT, "--report", tmp_path / "r.json", image=bright)
    assert done.status == 1
    assert "memory" in done.err
    assert [z for z in range(9) if labels_in(tmp_path)[z].any()] == [3, 4, 5]
    assert "memory" in json.loads((tmp_path / "r.json").read_text())["error"]


def test_an_object_is_followed_through_time(propagate, bright, tmp_path) -> None:
    frames = np.stack([volume(), np.roll(volume(), 1, axis=3 - 1), volume()])
    np.save(tmp_path / "frames.npy", frames)
    flat = box_of(1, STACK.plane(4)).box
    assert flat is not None
    words = ("--box", commas(0, 4, flat.row0, flat.column0, flat.row1, flat.column1), "--along", "time")
    done = propagate(*words, *BRIGHT, image=tmp_path / "frames.npy")
    assert (done.status, done.err) == (0, "")
    found = labels_in(tmp_path)
    mine = truth()[4] == 1
    assert np.array_equal(found[:, 4], np.stack([mine, np.roll(mine, 1, axis=1), mine]))
    assert not np.delete(found, 4, axis=1).any()


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "Nothing says what to follow"),
        (("--box", "4,1,1,9,9", "--from", "20"), "Slice 20 is outside"),
        (("--box", "4,1,1,9,9", "--from", "6", "--to", "6"), "Slice 4 has prompts but is outside the range 6 to 6"),
        (("--box", "4,1,1,9,9", "--stop", "-3"), "Slice -3 is outside"),
        (("--box", "40,1,1,9,9"), "Slice 40 is outside"),
        (("--box", "1,1,9,9"), "takes 5 numbers"),
        (("--line", "4,1,1,9"), "takes 5 or 9 numbers"),
        (("--box3d", "1,1,9,9,9"), "takes 6 numbers"),
        (("--box3d", "1,1,1,30,9,9"), "Slice 30 is outside"),
        (("--box3d", "30,1,1,1,9,9"), "Slice 30 is outside"),
        (("--box3d", "3,1,1,5,9,9", "--from", "6"), "ranges 3 to 5 and 6 to 8 have no slice in common"),
        (("--box", "4,1,1,9,9", "--clean-up", "smooth=1e6"), "larger than the image"),
        (("--label", "3"), "object 3"),
        (("--label", "0"), "background"),
        (("--box", "4,1,1,9,9", "--way", "memory"), "has no memory"),
        (("--box", "4,1,1,9,9", "--way", "shapes"), "only slice 4"),
        (("--box", "4,1,1,9,9", "--along", "time"), "no time"),
        (("--box", "4,1,1,9,9", "--labels", "/nowhere.nii.gz"), "nowhere.nii.gz"),
        (("--box", "4,1,1,9,9", "--report", "/nowhere/r.json"), "folder"),
        (("--object", "x", "--box", "4,1,1,5,5", "--box", "4,1,1,6,6"), "several proposals"),
    ],
)  # fmt: skip
def test_bad_arguments_are_explained(propagate, bright, tmp_path, words, reason: str) -> None:
    done = propagate(*words, image=bright)
    assert (done.status, done.out) == (1, "")
    assert reason in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "out.nii.gz").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--box", "4,one,1,9,9"),
        ("--way", "memories"),
        ("--rules", "growth"),
        ("--rules", "speed=3"),
        ("--rules", "overlap=7"),
        ("--clean-up", "biggest"),
        ("--clean-up", "smooth"),
        ("--clean-up", "smooth=x"),
    ],
)
def test_misspelt_arguments_get_the_usage(propagate, bright, words) -> None:
    done = propagate(*words, image=bright)
    assert done.status == 2
    assert "error: " in done.err
    assert "Traceback" not in done.err


def test_a_model_that_takes_no_prompts_and_an_image_without_depth_are_explained(propagate, bright, tmp_path) -> None:
    np.save(tmp_path / "flat.npy", volume()[4])
    done = propagate("--box", "1,1,9,9", image=tmp_path / "flat.npy")
    assert "single slice" in done.err
    np.save(tmp_path / "thin.npy", volume()[4:5])
    done = propagate("--box", "0,1,1,9,9", image=tmp_path / "thin.npy")
    assert "one slice only" in done.err


def test_nothing_found_writes_nothing(propagate, bright, tmp_path) -> None:
    done = propagate("--box", "4,9,6,12,14", *BRIGHT[:4], image=bright)
    assert done.status == 1
    assert "Nothing was found" in done.err
    assert not (tmp_path / "out.nii.gz").exists()


# -- real volumes and what is larger than memory ---------------------------------------------------------------


def test_a_kidney_of_a_torso_ct_with_the_built_in_model_and_the_geometry_of_the_source(
    propagate, shared, tmp_path
) -> None:
    """The left kidney (3) of `torso_ct_crop`, from the box on its largest slice and its true range."""
    volumes = shared / "data" / "volumes"
    labelled = read_labels(volumes / "torso_ct_crop_labels.nii.gz").array == 3
    at = int(labelled.sum(axis=(1, 2)).argmax())
    rows, columns = np.nonzero(labelled[at])
    here = np.flatnonzero(labelled.any(axis=(1, 2)))
    numbers = commas(at, rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    words = ("--box", numbers, "--from", here[0], "--to", here[-1], "--window", "CT abdomen")
    done = propagate(*words, image=volumes / "torso_ct_crop.nii.gz")
    assert (done.status, done.err) == (0, "")
    image, written = nib.load(volumes / "torso_ct_crop.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(written.affine, image.affine)
    assert written.shape == image.shape
    assert dice(labels_in(tmp_path) == 1, labelled) > 0.6


def test_slices_of_half_a_millimetre_pixels_and_7_mm_apart_keep_their_shape(propagate, shared, tmp_path) -> None:
    """`cord_t2s`: 0.5 x 0.5 x 7.5 mm, stored as LAS; grey matter carried on between labelled slices."""
    volumes = shared / "data" / "volumes"
    image, labels = read_image(volumes / "cord_t2s.nii.gz"), read_labels(volumes / "cord_t2s_gm_labels.nii.gz")
    depth = int(np.argmax(image.grid.spacing))
    assert depth == 0
    matter = np.flatnonzero((labels.array > 0).any(axis=(1, 2)))
    started = (labels.array > 0).astype(np.uint8)
    started[matter[1:-1:2]] = 0
    write_labels(tmp_path / "started.nii.gz", started, grid=image.grid, source=image.source)
    words = ("--labels", tmp_path / "started.nii.gz", "--label", 1, "--way", "shapes")
    words += ("--from", matter[0], "--to", matter[-1])
    done = propagate(*words, image=volumes / "cord_t2s.nii.gz")
    assert (done.status, done.err) == (0, "")
    found = labels_in(tmp_path)
    kept = started.any(axis=(1, 2))
    assert np.array_equal(found[kept], started[kept]), "what was given stays"
    assert dice(found == 1, labels.array > 0) > 0.75


def test_a_dask_volume_is_computed_slice_by_slice() -> None:
    dask = pytest.importorskip("dask.array")
    computed: list[int] = []

    def block(block_info):
        z = block_info[None]["chunk-location"][0]
        computed.append(z)
        return volume()[z : z + 1]

    array = dask.map_blocks(block, chunks=((1,) * 9, (12,), (14,)), dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    image = Image(array, Grid.from_spacing(volume().shape, (3.0, 1.0, 2.0)))
    task = api.Task(STACK.plane(4), box_of(1, STACK.plane(4)))
    done = api.propagate_image(image, [task], model=BrightFake(), window=WINDOW, prompting=WIDE, **HOW)
    assert np.array_equal(done.labels, truth() == 1)
    assert sorted(z for z in computed if z != 4) == [0, 1, 2, 3, 5, 6, 7, 8], "each once, but for the prompted one"


def test_a_zarr_volume_is_read_one_slice_at_a_time() -> None:
    """Chunks are slices; each is read when its turn comes."""
    zarr = pytest.importorskip("zarr")
    reads: list[str] = []

    class Counting(zarr.storage.MemoryStore):
        async def get(self, key, prototype, byte_range=None):
            if "/c/" in f"/{key}":
                reads.append(key)
            return await super().get(key, prototype, byte_range)

    array = zarr.create_array(Counting(), shape=volume().shape, chunks=(1, 12, 14), dtype="u1")
    array[:] = volume()
    image = Image(array, Grid.from_spacing(volume().shape, (3.0, 1.0, 2.0)))
    reads.clear()
    task = api.Task(STACK.plane(4), box_of(1, STACK.plane(4)))
    done = api.propagate_image(image, [task], model=BrightFake(), window=WINDOW, prompting=WIDE, **HOW)
    assert np.array_equal(done.labels, truth() == 1)
    assert sorted(key for key in reads if key != "c/4/0/0") == [f"c/{z}/0/0" for z in (0, 1, 2, 3, 5, 6, 7, 8)]
