"""Labels without prompts: through the core, the Python API, the engine and the command line."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from napari_medsam import api
from napari_medsam.cli import label, main
from napari_medsam.engine import Engine, Errand
from napari_medsam.errors import (
    GeometryError,
    ImageError,
    LabelsError,
    ModelError,
    UnsupportedError,
)
from napari_medsam.geometry import Grid, Plane
from napari_medsam.image import Image
from napari_medsam.io import read_names, write_labels
from napari_medsam.labelling import (
    axial_planes,
    doubt,
    label_plane,
    names_of,
    require_automatic,
    require_labeller,
)
from napari_medsam.models.base import Model
from napari_medsam.phantom import ct_phantom

from ..contract.fakes import BoxFake, LabelFake
from .fakes import SECONDS, SHAPE, BrokenArray, LazyArray, axial, grid, image, voxels

CT, _, _ = ct_phantom((6, 40, 50))


def expected(values: NDArray[Any]) -> NDArray[Any]:
    """What LabelFake says, computed in another way."""
    return (values >= 0).astype(int) + (values >= 300)


# -- planes ----------------------------------------------------------------------------------------------------------


def test_all_axial_slices_in_order() -> None:
    assert axial_planes(image()) == [axial(z) for z in range(SHAPE[0])]


def test_chosen_slices_come_once_each_and_in_order() -> None:
    assert axial_planes(image(), [3, 1, 3]) == [axial(1), axial(3)]


def test_slices_of_every_frame() -> None:
    film = Image(np.zeros((2, *SHAPE), np.int16), Grid.from_spacing((2, *SHAPE), (0.5, 3, 1, 2)))
    found = axial_planes(film, [2])
    assert found == [Plane((2, 3), ((0, t), (1, 2))) for t in range(2)]


def test_a_single_slice_has_no_number() -> None:
    flat = Image(voxels()[0], grid(SHAPE[1:]))
    assert axial_planes(flat) == [Plane((0, 1))]
    with pytest.raises(GeometryError, match="single slice"):
        axial_planes(flat, [0])


@pytest.mark.parametrize("slices", [[4], [-1], []], ids=str)
def test_slices_that_are_not_there_are_refused(slices: list[int]) -> None:
    with pytest.raises(GeometryError):
        axial_planes(image(), slices)


def test_a_colour_image_is_refused() -> None:
    colour = Image(np.zeros((*SHAPE, 3), np.uint8), grid(), rgb=True)
    with pytest.raises(ImageError, match="colour"):
        axial_planes(colour)


# -- models ----------------------------------------------------------------------------------------------------------


def test_models_that_need_prompts_are_refused_with_what_to_choose() -> None:
    with pytest.raises(UnsupportedError, match="samed-b"):
        require_labeller(BoxFake())
    with pytest.raises(UnsupportedError, match="samed-b"):
        require_automatic("contour")
    require_automatic("samed-b")
    require_automatic("samed-h@/somewhere/own.pth")
    labeller = LabelFake()
    assert require_labeller(labeller) is labeller


def test_an_unknown_model_is_told_from_one_that_needs_prompts() -> None:
    with pytest.raises(ModelError, match="samed"):
        require_automatic("samed-x")


def test_names_start_at_one() -> None:
    assert names_of(LabelFake()) == {1: "tissue", 2: "bone"}


# -- labels ----------------------------------------------------------------------------------------------------------


def test_slices_get_their_labels_from_values_in_their_own_units() -> None:
    for plane in axial_planes(image()):
        np.testing.assert_array_equal(label_plane(LabelFake(), image(), plane), expected(voxels()[plane.key]))


def test_to_cancel_is_to_stop_asking() -> None:
    labeller, sampled, array = LabelFake(), LazyArray(voxels()), LazyArray(voxels())
    doubt(image(sampled))
    api.label_image(image(array), model=labeller, cancelled=lambda: labeller.labelled == 2)
    assert labeller.labelled == 2
    assert len(array.reads) == len(sampled.reads) + 2


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), RuntimeError("CUDA error")])
def test_foreign_errors_come_as_errors_of_the_model(error: Exception) -> None:
    class Failing(LabelFake):
        def label(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
            raise error

    with pytest.raises(ModelError) as caught:
        label_plane(Failing(), image(), axial(2))
    assert caught.value.__cause__ is error


def test_a_slice_that_cannot_be_read() -> None:
    with pytest.raises(ImageError, match="Slice 1"):
        label_plane(LabelFake(), image(BrokenArray(voxels(), OSError("gone"))), axial(1))


def test_a_label_without_a_name_is_not_let_through() -> None:
    class Odd(LabelFake):
        classes = ("tissue",)

    with pytest.raises(LabelsError, match="without a name"):
        label_plane(Odd(), CT, axial(3))


def test_a_doubt_about_what_is_no_ct() -> None:
    assert not doubt(CT)
    assert "CT" in doubt(Image(np.full(SHAPE, 120, np.uint8), grid()))


def test_the_lane_labels_slice_by_slice() -> None:
    def labelled(model: Model, plane: Plane) -> tuple[Plane, NDArray[np.uint8]]:
        return plane, label_plane(require_labeller(model), image(), plane)

    outcomes: list[Any] = []
    engine = Engine(lambda reference: LabelFake(), outcomes.append)
    try:
        for plane in axial_planes(image()):
            engine.submit(Errand(f"label {plane.index}", "fake", partial(labelled, plane=plane)))
        assert engine.wait(SECONDS)
    finally:
        engine.close(SECONDS)
    assert [outcome.error for outcome in outcomes] == [None] * SHAPE[0]
    for plane, found in (outcome.value for outcome in outcomes):
        np.testing.assert_array_equal(found, expected(voxels()[plane.key]))


# -- the Python API --------------------------------------------------------------------------------------------------


def test_a_volume_gets_labels_names_and_no_note() -> None:
    found = api.label_image(CT, model=LabelFake())
    np.testing.assert_array_equal(found.labels, expected(np.asarray(CT.data)))
    assert found.names == {1: "tissue", 2: "bone"}
    assert (found.done, found.total, found.note, found.error) == (6, 6, "", None)


def test_slices_that_were_not_chosen_stay_empty() -> None:
    labels = api.label_image(CT, model=LabelFake(), slices=[2, 4]).labels
    np.testing.assert_array_equal(labels.any(axis=(1, 2)), [False, False, True, False, True, False])


def test_progress_is_told_and_a_run_can_be_cancelled() -> None:
    told: list[tuple[int, int]] = []
    labeller = LabelFake()
    found = api.label_image(
        CT, model=labeller, progress=lambda *now: told.append(now), cancelled=lambda: len(told) == 2
    )
    labels = found.labels
    assert (found.done, found.total) == (2, 6)
    assert told == [(1, 6), (2, 6)]
    assert labeller.labelled == 2
    assert labels[1].any()
    assert not labels[2:].any()


def test_the_note_says_that_it_is_no_ct() -> None:
    assert "CT" in api.label_image(Image(np.full(SHAPE, 120, np.uint8), grid()), model=LabelFake()).note


class FailsOn(LabelFake):
    """Fails on the slice of a number, counted from 1."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def label(self, values: np.ndarray) -> np.ndarray:
        found = super().label(values)
        if self.labelled == self.number:
            raise ValueError("no such slice")
        return found


def test_what_was_found_before_a_slice_failed_stays() -> None:
    found = api.label_image(CT, model=FailsOn(3))
    np.testing.assert_array_equal(found.labels.any(axis=(1, 2)), [True, True, False, False, False, False])
    assert (found.done, found.total) == (2, 6)
    assert "failed on slice 2" in str(found.error)
    with pytest.raises(ModelError, match="failed on slice 0"):
        api.label_image(CT, model=FailsOn(1))


def test_a_mistake_in_a_callback_does_not_cost_what_was_found() -> None:
    found = api.label_image(CT, model=LabelFake(), progress=lambda done, total: print(1 // (2 - done)))
    assert (found.done, found.labels[1].any()) == (2, True)
    assert "'progress' failed: ZeroDivisionError" in str(found.error)


def test_models_for_prompts_and_models_without_do_not_stand_in_for_each_other() -> None:
    with pytest.raises(UnsupportedError, match="needs prompts"):
        api.label_image(CT, model="contour")
    with pytest.raises(UnsupportedError, match="needs prompts"):
        api.label_image(CT, model=BoxFake())
    with pytest.raises(UnsupportedError, match="label_image"):
        api.segment_plane(np.asarray(CT.data[3]), box=(5, 5, 20, 20), model=LabelFake())  # type: ignore[arg-type]


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """The phantom as NIfTI in RAS order, so that a flip on the way shows."""
    spacing = CT.grid.spacing[::-1]
    data = np.asarray(CT.data).transpose(2, 1, 0)[::-1, ::-1]
    nib.save(nib.Nifti1Image(data, np.diag([*spacing, 1.0])), tmp_path / "ct.nii.gz")
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def with_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_model", lambda *words, **options: LabelFake())


@pytest.mark.usefixtures("with_fake")
def test_the_command_writes_named_labels_on_the_grid_of_the_file(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.nii.gz"
    assert main(["label", str(ct), "-o", str(out), "--slices", "1-3,5"]) == 0
    source, written = nib.load(ct), nib.load(out)
    np.testing.assert_array_equal(written.affine, source.affine)
    want = expected(np.asarray(source.dataobj))
    want[:, :, [0, 4]] = 0
    np.testing.assert_array_equal(np.asarray(written.dataobj), want)
    assert read_names(out) == {1: "tissue", 2: "bone"}
    said = capsys.readouterr().out
    assert f"{np.count_nonzero(want == 2)} voxels" in said
    assert "note" not in said


@pytest.mark.usefixtures("with_fake")
@pytest.mark.parametrize(
    "words",
    [
        ["--slices", "3-1"],
        ["--slices", "0-99999999999"],
        ["--slices", "all"],
        ["--slices", "90"],
        ["--model", "contour"],
        ["--model", "samed"],
    ],
    ids=" ".join,
)
def test_the_command_refuses_in_words(ct: Path, tmp_path: Path, words: list[str], capsys: Any) -> None:
    try:
        status = main(["label", str(ct), "-o", str(tmp_path / "out.nii.gz"), *words])
    except SystemExit as exit:
        status = int(exit.code or 0)
    assert status in (1, 2)
    assert "napari-medsam" in capsys.readouterr().err
    assert not (tmp_path / "out.nii.gz").exists()


def test_the_command_writes_what_was_found_before_a_slice_failed(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(api, "load_model", lambda *words, **options: FailsOn(4))
    out = tmp_path / "out.nii.gz"
    assert main(["label", str(ct), "-o", str(out)]) == 1
    assert np.asarray(nib.load(out).dataobj).any(axis=(0, 1)).tolist() == [True] * 3 + [False] * 3
    assert "3 of 6 slices are labelled and written" in capsys.readouterr().err


@pytest.mark.parametrize(("presses", "done"), [(1, 2), (2, 1)], ids=["after the slice", "at once"])
def test_ctrl_c_ends_the_command_and_what_was_found_is_written(
    presses: int, done: int, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Interrupted(LabelFake):
        def label(self, values: np.ndarray) -> np.ndarray:
            for _ in range(presses if self.labelled == 1 else 0):
                signal.raise_signal(signal.SIGINT)
            return super().label(values)

    monkeypatch.setattr(api, "load_model", lambda *words, **options: Interrupted())
    out = tmp_path / "out.nii.gz"
    assert main(["label", str(ct), "-o", str(out)]) == 1
    assert np.asarray(nib.load(out).dataobj).any(axis=(0, 1)).tolist() == [True] * done + [False] * (6 - done)
    assert f"{done} of 6 slices are labelled and written" in capsys.readouterr().err


@pytest.mark.usefixtures("with_fake")
def test_ctrl_c_that_comes_while_the_file_is_written_loses_nothing(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def pressed_meanwhile(*words: Any, **options: Any) -> Path:
        signal.raise_signal(signal.SIGINT)
        return write_labels(*words, **options)

    monkeypatch.setattr(label, "write_labels", pressed_meanwhile)
    out = tmp_path / "out.nii.gz"
    assert main(["label", str(ct), "-o", str(out)]) == 0
    assert "writing what was found" in capsys.readouterr().err
    assert np.asarray(nib.load(out).dataobj).any()


@pytest.mark.usefixtures("with_fake")
@pytest.mark.parametrize("command", ["label", "segment"])
def test_a_folder_that_is_not_there_is_told_before_the_work(
    command: str, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def works(*words: Any, **options: Any) -> None:
        raise AssertionError("it began")

    monkeypatch.setattr(api, "label_image", works)
    monkeypatch.setattr(api, "segment_image", works)
    boxes = ["--box", "1,2,2,9,9"] if command == "segment" else []
    assert main([command, str(ct), "-o", str(tmp_path / "none" / "out.nii.gz"), *boxes]) == 1
    assert "make the folder" in capsys.readouterr().err


@pytest.mark.usefixtures("with_fake")
def test_the_command_does_not_write_over_the_image(ct: Path) -> None:
    before = ct.read_bytes()
    assert main(["label", str(ct), "-o", str(ct)]) == 1
    assert ct.read_bytes() == before
