"""The command line, called as the shell calls it, with real files."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pytest

from napari_medsam import __version__
from napari_medsam.cli import main
from napari_medsam.geometry import Plane
from napari_medsam.io import read_names
from napari_medsam.models import registry
from napari_medsam.phantom import LIVER, RIGHT_KIDNEY, ct_phantom

IMAGE, TRUTH, _ = ct_phantom((10, 40, 50))
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Outcome(NamedTuple):
    """What the shell sees."""

    status: int
    out: str
    err: str


Call = Callable[..., Outcome]


def box_of(value: int, plane: Plane) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(TRUTH[plane.key] == value)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def saved(path: Path, flips: tuple[int, int, int] = (1, 1, 1), name: str = "ct.nii.gz") -> Path:
    """The phantom as NIfTI, stored along x, y, z with some axes turned round; the patient is the same."""
    affine = LPS @ np.block([[np.diag(IMAGE.grid.spacing[::-1]), IMAGE.grid.affine[2::-1, 3:]], [0, 0, 0, 1]])
    data = IMAGE.data.transpose(2, 1, 0)
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis)
    image = nib.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 2)
    image.header["descrip"] = b"made by a scanner"
    nib.save(image, path / name)
    return path / name


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("image"))


@pytest.fixture
def call(capsys) -> Call:
    def run(*words: object) -> Outcome:
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit:
            status = int(exit.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def segment(call: Call, ct: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Run `segment` on the phantom into `out.nii.gz`."""
    return lambda *words: call("segment", ct, *words, "-o", tmp_path / "out.nii.gz")


@pytest.fixture
def prompts(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a prompt file."""

    def write(content: Any) -> Path:
        path = tmp_path / "prompts.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def labels_of(path: Path) -> np.ndarray:
    """(z, y, x) of a file whose voxels are stored as `saved` does without flips."""
    return np.asarray(nib.load(path).dataobj).transpose(2, 1, 0)


def commas(*numbers: int) -> str:
    return ",".join(map(str, numbers))


# -- what works ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("view", "position"), [("axial", 4), ("coronal", 17), ("sagittal", 14)])
def test_a_box_in_any_view_gives_the_organ_on_that_slice_only(segment, tmp_path, view: str, position: int) -> None:
    axis = ["axial", "coronal", "sagittal"].index(view)
    plane = Plane.across(axis, position)
    done = segment("--box", commas(position, *box_of(LIVER.label, plane)), "--view", view, "--window", "CT abdomen")
    assert (done.status, done.err) == (0, "")
    assert "object 1" in done.out
    assert str(tmp_path / "out.nii.gz") in done.out
    labels = labels_of(tmp_path / "out.nii.gz")
    assert dice(labels[plane.key] == 1, TRUTH[plane.key] == LIVER.label) > 0.75
    labels[plane.key] = 0
    assert not labels.any()


def test_the_first_slice_can_be_segmented(segment, tmp_path) -> None:
    """MedSAMSlicer never segments slice 0."""
    done = segment("--box", commas(0, 10, 10, 20, 30), "--box", commas(9, 10, 10, 20, 30))
    assert done.status == 0
    labels = labels_of(tmp_path / "out.nii.gz")
    assert [z for z in range(10) if labels[z].any()] == [0, 9]


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_labels_have_the_sources_geometry_however_it_is_stored(call, tmp_path, flips) -> None:
    source = saved(tmp_path, flips)
    box = commas(4, *box_of(LIVER.label, Plane.across(0, 4)))
    assert call("segment", source, "--box", box, "-o", tmp_path / "out.nii.gz").status == 0
    image, labels = nib.load(source), nib.load(tmp_path / "out.nii.gz")
    assert np.array_equal(labels.affine, image.affine)
    assert labels.shape == image.shape
    for field in ("qform_code", "sform_code", "pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        assert np.array_equal(labels.header[field], image.header[field]), field
    voxels = np.asarray(labels.dataobj)
    for axis, flip in enumerate(flips):
        voxels = np.flip(voxels, axis) if flip < 0 else voxels
    assert dice(voxels.transpose(2, 1, 0)[4] == 1, TRUTH[4] == LIVER.label) > 0.75


def test_the_image_file_is_not_touched(segment, ct) -> None:
    before = ct.read_bytes()
    assert segment("--box", "4,10,10,20,30").status == 0
    assert ct.read_bytes() == before


def test_a_prompt_file_says_everything(segment, prompts, tmp_path) -> None:
    axial, coronal = Plane.across(0, 4), Plane.across(1, 27)
    inside = [int(v) for v in np.argwhere(TRUTH[3] == RIGHT_KIDNEY.label).mean(axis=0).round()]
    objects = [
        {"slice": 4, "box": list(box_of(LIVER.label, axial)), "points": [[2, 2, -1]], "label": 7, "name": "Leber ä"},
        {"slice": [27], "view": "coronal", "box": list(box_of(RIGHT_KIDNEY.label, coronal)), "name": "kidney"},
        {"slice": 3, "points": [[*inside, 1], [1, 1, -1]]},
    ]
    done = segment("--boxes", prompts({"window": "CT abdomen", "model": "contour", "objects": objects}))
    assert (done.status, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()[:-1]] == ["7", "8", "9"]
    labels = labels_of(tmp_path / "out.nii.gz")
    assert dice(labels[4] == 7, TRUTH[4] == LIVER.label) > 0.75
    assert labels[:, 27][labels[:, 27] > 0].max() == 8
    assert labels[3][tuple(inside)] == 9
    assert not labels[3][1, 1]
    assert read_names(tmp_path / "out.nii.gz") == {7: "Leber ä", 8: "kidney", 9: "object 9"}


def test_a_prompt_file_may_be_a_bare_list_and_add_to_the_boxes(segment, prompts, tmp_path) -> None:
    done = segment("--box", "2,10,10,20,30", "--boxes", prompts([{"slice": 5, "box": [10, 10, 20, 30]}]))
    assert done.status == 0
    labels = labels_of(tmp_path / "out.nii.gz")
    assert (labels[2].max(), labels[5].max()) == (1, 2)


def test_later_objects_keep_or_overwrite_earlier_ones(segment, tmp_path) -> None:
    words = ("--box", "4,8,8,20,20", "--box", "4,2,2,38,48")
    assert segment(*words).status == 0
    kept = labels_of(tmp_path / "out.nii.gz")[4]
    assert segment(*words, "--overwrite").status == 0
    over = labels_of(tmp_path / "out.nii.gz")[4]
    assert (kept == 1).sum() > (over == 1).sum()
    assert ((over == 2) >= (kept == 2)).all()


@pytest.mark.parametrize("words", [("--window", "-160,240"), ("--window=-160,240",)], ids=["two words", "one word"])
def test_a_window_may_begin_below_zero(segment, words) -> None:
    """The abdomen window, -160 to 240 HU: what a user of CT types first."""
    done = segment("--box", "4,10,10,20,30", *words)
    assert (done.status, done.err) == (0, "")


def test_plane_and_series_take_as_many_numbers_as_they_have_axes(call, tmp_path) -> None:
    np.save(tmp_path / "flat.npy", IMAGE.data[4])
    np.save(tmp_path / "series.npy", np.stack([IMAGE.data, IMAGE.data]))
    out = tmp_path / "out.nii.gz"
    assert call("segment", tmp_path / "flat.npy", "--box", "10,10,20,30", "-o", out).status == 0
    assert np.squeeze(np.asarray(nib.load(out).dataobj)).T.shape == (40, 50)
    done = call("segment", tmp_path / "series.npy", "--box", "1,4,10,10,20,30", "-o", out)
    assert (done.status, done.err) == (0, "")
    labels = np.asarray(nib.load(out).dataobj).transpose(3, 2, 1, 0)
    assert np.argwhere(labels.any(axis=(2, 3))).tolist() == [[1, 4]]


def test_non_ascii_paths(call, ct, tmp_path) -> None:
    folder = tmp_path / "Пациент 肝臓 é"
    folder.mkdir()
    source = folder / "bild ß.nii.gz"
    source.write_bytes(ct.read_bytes())
    done = call("segment", source, "--box", "4,10,10,20,30", "-o", folder / "出力.nii.gz")
    assert (done.status, done.err) == (0, "")
    assert (folder / "出力.nii.gz").exists()


def test_the_models_are_listed_with_state_and_licence(call) -> None:
    done = call("models")
    assert done.status == 0
    lines = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert set(registry.names()) <= set(lines)
    assert "built in" in lines["contour"]
    assert "Apache-2.0" in lines["contour"]
    assert "needs 375 MB" in lines["sam-vit-b"]
    assert "CC-BY-SA-4.0" in lines["medsam2"]


def test_one_model_is_told_of_with_its_limits(call) -> None:
    done = call("models", "contour", "samed-b")
    assert done.status == 0
    assert "not a neural network" in done.out
    assert "right kidney" in done.out
    assert "drive.google.com" in done.out


def test_a_model_without_weights_says_how_to_get_them(call, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    done = call("segment", str(saved(tmp_path)), "--box", "2,1,1,6,6", "-o", str(out), "--model", "sam-vit-b")
    assert done.status == 1
    assert "napari-medsam fetch sam-vit-b" in done.err
    assert not out.exists()


def test_version_and_help(call) -> None:
    assert call("--version").out.strip() == f"napari-medsam {__version__}"
    help_text = call("segment", "--help")
    assert help_text.status == 0
    for word in ("--box", "--boxes", "--window", "--view", "--model", "--output", "--overwrite"):
        assert word in help_text.out


# -- what is refused -------------------------------------------------------------------------------------------


def refused(done: Outcome, *words: str) -> None:
    """Exit status 1 and one line that says what is wrong."""
    assert done.status == 1
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("napari-medsam: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "Say what to segment"),
        (("--box", "10,10,20,30"), "takes 5 numbers"),
        (("--box", "1,2,3,4,5,6"), "takes 5 numbers"),
        (("--box", "10,10,10,20,30"), "Slice 10 is outside"),
        (("--box=-1,10,10,20,30",), "Slice -1 is outside"),
        (("--box", "4,10,10,10,30"), "covers 0 x 20"),
        (("--box", "4,10,10,11,11"), "1 x 1"),
        (("--box", "4,20,30,10,10"), "0 x 0"),
        (("--box", "4,100,100,120,130"), "outside the image"),
        (("--box", "4,10,10,20,30", "--window", "narrow"), "LOW,HIGH"),
        (("--box", "4,10,10,20,30", "--window", "1,2,3"), "LOW,HIGH"),
        (("--box", "4,10,10,20,30", "--window", "240,100"), "lower bound"),
        (("--box", "4,10,10,20,30", "--window", "nan,100"), "finite"),
        (("--boxes", "/nowhere/prompts.json"), "/nowhere/prompts.json"),
        (("--box", "4,10,10,20,30", "--box", "4,12,12,18,20"), "belongs to other objects"),
    ],
)
def test_bad_arguments_are_explained(segment, tmp_path, words, reason: str) -> None:
    refused(segment(*words), reason)
    assert list(tmp_path.iterdir()) == [], "nothing is written"


@pytest.mark.parametrize(
    "words",
    [
        ("--box", "4,ten,10,20,30"),
        ("--box", "4.5,10,10,20,30"),
        ("--box", ""),
        ("--view", "oblique"),
        ("--model", "sam9"),
        ("--bx", "4"),
    ],
)
def test_misspelt_arguments_get_the_usage(segment, tmp_path, words) -> None:
    done = segment(*words)
    assert done.status == 2
    assert "usage: napari-medsam" in done.err
    assert "error: " in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


GOOD = {"slice": 4, "box": [10, 10, 20, 30]}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "not json",
        "3",
        "{}",
        '{"objects": {"slice": 4}}',
        {"objects": []},
        {"objects": [3]},
        {"objects": [{**GOOD, "boxx": 1}]},
        {"objects": [{"slice": 4}]},
        {"objects": [{"box": [10, 10, 20, 30]}]},
        {"objects": [{**GOOD, "slice": 99}]},
        {"objects": [{**GOOD, "slice": [4, 4]}]},
        {"objects": [{**GOOD, "slice": "middle"}]},
        {"objects": [{**GOOD, "slice": None}]},
        {"objects": [{**GOOD, "slice": {"z": 4}}]},
        {"objects": [{**GOOD, "box": [10, 10, 20]}]},
        {"objects": [{**GOOD, "box": [10.5, 10, 20, 30]}]},
        {"objects": [{**GOOD, "box": ["a", "b", "c", "d"]}]},
        {"objects": [{**GOOD, "box": {"row0": 10}}]},
        {"objects": [{**GOOD, "box": 10}]},
        {"objects": [{**GOOD, "points": [[1, 2]]}]},
        {"objects": [{**GOOD, "points": [1, 2, 1]}]},
        {"objects": [{**GOOD, "points": [[1, 2, 5]]}]},
        {"objects": [{**GOOD, "points": 5}]},
        {"objects": [{**GOOD, "points": [[99, 2, 1]]}]},
        {"objects": [{"slice": 4, "points": [[12, 12, -1]]}]},
        {"objects": [{**GOOD, "view": "oblique"}]},
        {"objects": [{**GOOD, "view": ["axial"]}]},
        {"objects": [{**GOOD, "label": "liver"}]},
        {"objects": [{**GOOD, "label": -1}]},
        {"objects": [{**GOOD, "label": 2**32}]},
        {"objects": [GOOD], "model": "sam9"},
        {"objects": [GOOD], "window": [1, 2, 3]},
        {"objects": [GOOD], "window": "narrow"},
        {"objects": [GOOD], "window": [240, 100]},
        {"objects": [GOOD], "window": 400},
        {"objects": [GOOD], "window": {}},
        {"objects": [GOOD], "window": [0, 10**400]},
        {"objects": [GOOD], "model": 5},
        {"objects": [GOOD], "model": ["contour"]},
        {"objects": [{**GOOD, "label": float("inf")}]},
        {"objects": [{**GOOD, "label": float("nan")}]},
        {"objects": [{**GOOD, "label": 10**400}]},
        {"objects": [{**GOOD, "name": 3}]},
        {"objects": [{**GOOD, "name": ["liver"]}]},
        {"objects": [{**GOOD, "slice": True}]},
        {"objects": [{**GOOD, "slice": 10**400}]},
        '[{"slice": 1e400, "box": [10, 10, 20, 30]}]',
        {"objects": [{**GOOD, "box": [float("nan")] * 4}]},
        {"objects": [{**GOOD, "box": [10**400] * 4}]},
        {"objects": [{**GOOD, "points": "abc"}]},
        {"objects": [{**GOOD, "points": None}]},
        {"objects": [{**GOOD, "strokes": 5}]},
        {"objects": [{**GOOD, "strokes": [[[0, 0], [1e12, 0]]]}]},
        pytest.param("[" * 100_000, id="brackets without end"),
    ],
    ids=lambda content: content if isinstance(content, str) else json.dumps(content)[:90],
)
def test_bad_prompt_files_are_explained(segment, prompts, tmp_path, content) -> None:
    refused(segment("--boxes", prompts(content)))
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.json"], "nothing is written"


@pytest.mark.parametrize(
    "entry",
    [{**GOOD, "slice": 3.7}, {**GOOD, "slice": [3.7]}, {**GOOD, "label": 1.5}, {**GOOD, "label": 0}],
    ids=["slice 3.7", "slice [3.7]", "label 1.5", "label 0, the background"],
)
def test_numbers_in_a_prompt_file_are_not_truncated_in_silence(segment, prompts, entry) -> None:
    """micro-sam truncates z."""
    refused(segment("--boxes", prompts([entry])))


def test_a_misspelt_setting_of_a_prompt_file_is_not_ignored(segment, prompts) -> None:
    refused(segment("--boxes", prompts({"objects": [GOOD], "windows": [0, 1]})), "windows")


def test_a_name_of_null_is_no_name(segment, prompts, tmp_path) -> None:
    assert segment("--boxes", prompts([{**GOOD, "name": None}])).status == 0
    assert read_names(tmp_path / "out.nii.gz") == {1: "object 1"}


def test_a_prompt_file_that_is_no_text_or_a_folder_is_explained(segment, tmp_path) -> None:
    (tmp_path / "prompts.json").write_bytes(b"\xff\xfe\x00[]")
    refused(segment("--boxes", tmp_path / "prompts.json"), "prompts.json")
    refused(segment("--boxes", tmp_path), str(tmp_path))


def test_the_fault_of_one_object_is_said_with_its_number(segment, prompts) -> None:
    refused(segment("--boxes", prompts([GOOD, {**GOOD, "label": "liver"}])), "Object 2")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.nii.gz", None),
        ("empty.nii.gz", b""),
        ("text.nii", b"this is no image"),
        ("truncated.nii.gz", "truncate"),
        ("notes.docx", b"PK"),
    ],
)
def test_files_that_are_no_image_are_explained(call, ct, tmp_path, name: str, content) -> None:
    source = tmp_path / name
    if content == "truncate":
        source.write_bytes(ct.read_bytes()[:5000])
    elif content is not None:
        source.write_bytes(content)
    refused(call("segment", source, "--box", "4,10,10,20,30", "-o", tmp_path / "out.nii.gz"), name)
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_target_that_cannot_be_written_is_explained(call, ct, tmp_path) -> None:
    words = ("segment", ct, "--box", "4,10,10,20,30", "-o")
    refused(call(*words, tmp_path / "nowhere" / "out.nii.gz"), "nowhere", "folder")
    (tmp_path / "folder.nii.gz").mkdir()
    refused(call(*words, tmp_path / "folder.nii.gz"), "folder.nii.gz")
    refused(call(*words, tmp_path / f"{'x' * 300}.nii.gz"), "shorter")


def unwritable(folder: Path, monkeypatch) -> None:
    """Make a folder one that nobody may write to; permissions do not bind root."""

    def refuses(path: Path, mode: str = "r", *words: Any, **options: Any) -> Any:
        if path.parent == folder and "x" in mode:
            raise PermissionError(13, "Permission denied")
        return opened(path, mode, *words, **options)

    opened = Path.open
    monkeypatch.setattr(Path, "open", refuses)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("there", ["there.nii.gz exists", "full name"]),
        ("scores.nii.gz", ["scores.tsv is in the way"]),
        ("folder.nii.gz", ["folder.nii.gz", "is a folder"]),
        ("locked/out.nii.gz", ["may not write there"]),
    ],
)
@pytest.mark.parametrize("command", ["segment", "propagate", "label"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    call, ct, tmp_path, monkeypatch, command: str, output: str, words: list[str]
) -> None:
    def loads(*_: Any, **__: Any) -> None:
        raise AssertionError("it began")

    for module in ("segment", "propagate", "label"):
        monkeypatch.setattr(f"napari_medsam.cli.{module}.model_of", loads)
    (tmp_path / "there.nii.gz").write_bytes(b"labels")
    (tmp_path / "scores.tsv").write_text("patient\tscore\nA\t1\n")
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "locked").mkdir()
    unwritable((tmp_path / "locked").resolve(), monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    box = () if command == "label" else ("--box", "4,10,10,20,30")
    refused(call(command, ct, *box, "-o", tmp_path / output), *words)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.nii.gz").read_bytes() == b"labels"


def test_labels_that_are_replaced_leave_no_names_behind(segment, prompts, tmp_path) -> None:
    """The dock would offer an object that is not there."""
    assert segment("--boxes", prompts([{**GOOD, "name": "liver"}, {**GOOD, "slice": 5, "name": "spleen"}])).status == 0
    assert read_names(tmp_path / "out.nii.gz") == {1: "liver", 2: "spleen"}
    assert segment("--box", "4,10,10,20,30").status == 0
    assert read_names(tmp_path / "out.nii.gz") == {1: "object 1"}


@pytest.mark.parametrize("model", ["contour", "starter"])
def test_a_device_that_does_not_exist_is_refused_for_built_in_models_too(segment, tmp_path, model: str) -> None:
    refused(segment("--box", "4,10,10,20,30", "--model", model, "--device", "banana"), "'banana'", "cuda:N")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_no_traceback(call, ct, tmp_path, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_medsam.cli.segment.read_image", interrupted)
    done = call("segment", ct, "--box", "4,10,10,20,30", "-o", tmp_path / "out.nii.gz")
    assert done == (130, "", "napari-medsam: Interrupted.\n")


def test_the_image_itself_is_refused_as_the_output(call, tmp_path) -> None:
    """Its voxels would be lost."""
    source = saved(tmp_path)
    before = source.read_bytes()
    done = call("segment", source, "--box", "4,10,10,20,30", "-o", source)
    assert source.read_bytes() == before
    refused(done, source.name)


def test_a_series_is_segmented_frame_by_frame_from_the_prompts_of_one(call, tmp_path, prompts) -> None:
    """Two boxes and the same on the next frames, each still of its own object."""
    frames = np.zeros((4, 3, 20, 24), np.int16)
    for t in range(4):
        frames[t, 1, 4:12, 5 + t : 12 + t] = 200
        frames[t, 1, 14:18, 5:12] = 200
    np.save(tmp_path / "series.npy", frames)
    objects = [{"slice": [0, 1], "box": [3, 4, 13, 17], "name": "a"}, {"slice": [0, 1], "box": [13, 4, 19, 13]}]
    words = ("segment", tmp_path / "series.npy", "--boxes", prompts(objects), "--window", "0,200")
    done = call(*words, "--model", "contour", "--frames", 2, "-o", tmp_path / "out.nii.gz")
    assert (done.status, done.err) == (0, "")
    found = np.asarray(nib.load(tmp_path / "out.nii.gz").dataobj).transpose(3, 2, 1, 0)
    assert [[bool((found[t] == value).any()) for t in range(4)] for value in (1, 2)] == [[True] * 3 + [False]] * 2
    assert np.array_equal(found[2, 1] == 1, (frames[2, 1] > 0) & (np.arange(20) < 13)[:, None])
    assert read_names(tmp_path / "out.nii.gz")[1] == "a"
    refused(call(*words, "--frames", 9, "-o", tmp_path / "out.nii.gz"), "no frame 4")


def test_a_failed_run_leaves_the_old_labels_whole(segment, tmp_path) -> None:
    assert segment("--box", "4,10,10,20,30").status == 0
    before = (tmp_path / "out.nii.gz").read_bytes()
    refused(segment("--box", "4,10,10,20,30", "--box", "99,10,10,20,30"))
    assert (tmp_path / "out.nii.gz").read_bytes() == before


def test_a_terminal_that_cannot_show_a_name_does_not_end_in_a_traceback(ct, prompts, tmp_path, monkeypatch) -> None:
    """A pipe on Windows is cp1252."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", screen)
    path = prompts([{**GOOD, "name": "肝臓"}])
    assert main(["segment", str(ct), "--boxes", str(path), "-o", str(tmp_path / "out.nii.gz")]) == 0
    assert (tmp_path / "out.nii.gz").exists()


def test_a_command_is_needed(call) -> None:
    assert call().status == 2
    assert call("segmnt").status == 2
