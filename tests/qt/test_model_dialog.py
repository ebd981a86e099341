"""The model chooser: a dock over a viewer without a window, real settings, real files, a real server on 127.0.0.1."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManager
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tests import gui
from tests.unit.models import little, loopback

from napari_medsam.geometry import Plane
from napari_medsam.models import registry
from napari_medsam.models.row import Row, WeightFile
from napari_medsam.prompts import Box
from napari_medsam.widgets.compat import setting, store_setting
from napari_medsam.widgets.dock import SegmentDock

PLANE = Plane.across(0, 3)
BOX = Box(4, 6, 14, 20)
LITE = WeightFile("lite_medsam.pth", page="https://example.org/lite", exact=False)


@pytest.fixture(autouse=True)
def _no_abort(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Exceptions in Qt slots fail the test instead of aborting the process."""
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, trace: raised.append(value))
    yield
    assert not raised, raised


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    PluginManager.instance().discover()
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):  # what is remembered of files of the same name
        monkeypatch.setenv(name, str(tmp_path / name))
    with gui.own_settings(tmp_path, monkeypatch):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The weights folder, named in the settings."""
    made = tmp_path / "weights"
    made.mkdir()
    store_setting("models.weights", str(made))
    return made


class Gate:
    """Holds a load until it is opened."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.threads: list[int] = []

    def __call__(self, sources: object) -> None:
        self.threads.append(threading.get_ident())
        self.entered.set()
        assert self.release.wait(20)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(little, "before", made)
    yield made
    made.release.set()


@dataclass
class Bench:
    """A dock on an image, without a window of napari."""

    viewer: Any
    dock: Any

    @property
    def controller(self) -> Any:
        return self.dock.controller

    @property
    def models(self) -> Any:
        return self.controller.models

    @property
    def status(self) -> tuple[str, str]:
        return self.controller.status

    def settle(self) -> None:
        """Wait for the lane, for work on weights, and for what they sent."""

        def quiet() -> bool:
            return not any(thread.name == "napari-medsam weights" for thread in threading.enumerate())

        gui.until(quiet)
        gui.settle(self.controller)
        gui.until(quiet)
        gui.settle(self.controller)

    def choose(self, reference: str) -> None:
        self.controller.choose_model(reference)
        self.settle()

    def draw(self) -> Any:
        """Draw a box as the mouse would; its draft."""
        self.controller.draw("box")
        self.controller.proposals.layers.boxes.add_rectangles(PLANE.to_index(BOX.outline))
        QApplication.processEvents()
        return self.draft

    @property
    def draft(self) -> Any:
        return self.controller.work.draft

    def dialog(self) -> Any:
        self.dock.model.open()
        self.settle()
        return self.dock.model.dialog

    def select(self, name: str) -> None:
        dialog = self.dock.model.dialog
        dialog.tree.setCurrentItem(next(item for item in dialog._lines() if item.data(0, Qt.UserRole) == name))


@pytest.fixture
def make_bench(qapp: QApplication, folder: Path) -> Iterator[Callable[[], Bench]]:
    made: list[Bench] = []

    def make() -> Bench:
        viewer = ViewerModel()
        viewer.add_image(np.random.default_rng(1).integers(0, 900, (5, 40, 60)).astype(np.int16))
        made.append(Bench(viewer, SegmentDock(viewer)))
        made[-1].dock.resize(300, 700)
        made[-1].settle()
        return made[-1]

    yield make
    for bench in made:
        bench.controller.close()
        bench.dock.deleteLater()
    QApplication.processEvents()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace rows of the table."""

    def change(*changed: Row) -> None:
        lite = (little.a_row("litemedsam", LITE), little.a_row("litemedsam-scribble"), little.a_row("mobile-sam"))
        monkeypatch.setattr(registry, "TABLE", little.table(*lite, *changed))

    change()
    return change


@pytest.fixture
def bench(rows: Any, make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()


def text_of(dialog: Any, name: str) -> str:
    return next(item.text(1) for item in dialog._lines() if item.data(0, Qt.UserRole) == name)


def drop(widget: Any, path: Path) -> bool:
    """Drop a file onto a widget; whether it would be taken."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    left = Qt.MouseButton.LeftButton
    arguments = (QPointF(5, 5), Qt.DropAction.CopyAction, data, left, Qt.KeyboardModifier.NoModifier)
    enter = QDropEvent(*arguments)
    enter.ignore()
    widget.dragEnterEvent(enter)
    if enter.isAccepted():
        widget.dropEvent(QDropEvent(*arguments))
    return enter.isAccepted()


# -- switching -------------------------------------------------------------------------------------------------


def test_the_model_in_use_stays_until_the_next_is_there_and_drafts_are_asked_again(
    bench: Bench, folder: Path, gate: Gate
) -> None:
    little.write(folder / "lite_medsam.pth")
    bench.draw()
    bench.settle()
    assert bench.draft.prediction is not None
    width = bench.dock.minimumSizeHint().width()
    bench.models.look()
    bench.settle()
    combo = bench.dock.model.combo
    at = combo.findData("litemedsam")
    assert at > 0, "what is on disk is offered in the dock"
    combo.setCurrentIndex(at)
    combo.activated.emit(at)
    assert gate.entered.wait(20)
    QApplication.processEvents()
    assert threading.get_ident() not in gate.threads
    assert combo.currentData() == bench.models.reference == bench.controller.session.model == "contour"
    assert "loading LiteMedSAM" in bench.dock.model.text.text()
    bench.controller.proposals.layers.boxes.add_rectangles(PLANE.to_index(Box(20, 6, 30, 20).outline))
    QApplication.processEvents()
    gate.release.set()
    bench.settle()
    assert combo.currentData() == bench.models.reference == bench.controller.session.model == "litemedsam"
    (draft,) = bench.controller.session.drafts.values()  # the box before was accepted by drawing the next
    assert draft.prediction.mask.sum() == 140, "BoxFake answers with the box itself"
    assert bench.controller.proposals.engine._held[0] == "litemedsam"
    assert len(gate.threads) == 1, "no question that waited brought Contour back and this one again"
    assert bench.dock.model.text.text() == "loaded · cpu · Apache-2.0"
    assert bench.models.loaded.devices[-1] == "cpu"
    assert bench.dock.minimumSizeHint().width() == width
    assert bench.dock.proposal.text.text() == "score 0.90, mask 1 of 2"
    bench.controller.next_candidate()
    assert bench.dock.proposal.text.text() == "score 0.80, mask 2 of 2"


def test_a_later_choice_wins_over_one_that_is_still_loading(bench: Bench, folder: Path, gate: Gate) -> None:
    little.write(folder / "lite_medsam.pth")
    bench.controller.choose_model("litemedsam")
    assert gate.entered.wait(20)
    bench.controller.choose_model("contour")
    bench.draw()
    gate.release.set()
    bench.settle()
    assert bench.models.reference == "contour"
    assert bench.models.loading == ""
    assert bench.draft.prediction is not None
    assert bench.draft.prediction.mask.sum() != 140


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not on this machine.*example.org/lite"),
        ("mobile-sam", "does not hold weights of LiteMedSAM.*MobileSAM"),
        (little.HTML, "web page"),
        ("truncated", "damaged|shorter|ends"),
    ],
)
def test_weights_that_cannot_be_used_are_told_and_nothing_else_changes(
    bench: Bench, folder: Path, content: Any, said: str
) -> None:
    path = folder / "lite_medsam.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "truncated":
        path.write_bytes(little.write(path).read_bytes()[:-20])
    elif content:
        little.write(path, content)
    bench.draw()
    bench.settle()
    before = bench.draft
    dialog = bench.dialog()
    bench.choose("litemedsam")
    text, kind = bench.status
    assert kind == "error"
    assert re.search(said, text), text
    assert dialog.message.text() == text
    assert (bench.models.reference, bench.models.loading) == ("contour", "")
    assert bench.draft == before
    assert bench.controller.proposals.engine._held[0] == "contour"
    assert bench.dock.model.combo.currentData() == "contour"


def test_tools_are_grey_with_the_reason_and_keys_say_it_too(bench: Bench, folder: Path) -> None:
    path = little.write(folder / "own.pth")
    bench.choose(registry.reference("litemedsam-scribble", path))
    dock = bench.dock
    enabled = [button.isEnabled() for button in (dock.box_button, dock.point_button, dock.stroke_button)]
    assert enabled == [False, False, True]
    said = "LiteMedSAM-Scribble does not take a point; it takes: stroke, mask. Choose another model for it."
    assert said in dock.point_button.toolTip()
    bench.controller.draw("point")  # as the key H does
    assert bench.status == (said, "error")
    assert bench.controller.proposals.layers.points is None, "no tool was made ready"
    bench.choose(registry.reference("litemedsam", path))
    assert dock.point_button.isEnabled()
    assert "box around what Contour finds there (a stand-in)" in dock.point_button.toolTip()
    assert "stand-in" not in dock.box_button.toolTip()
    bench.choose("contour")
    assert dock.point_button.toolTip() == "Click on the object; right click or Shift click off it (key H)"


def test_a_stand_in_is_named_with_the_answer(bench: Bench, folder: Path) -> None:
    bench.choose(registry.reference("litemedsam", little.write(folder / "lite_medsam.pth")))
    bench.controller.draw("point")
    bench.controller.proposals.layers.points.add(PLANE.to_index([(20, 30)]))
    QApplication.processEvents()
    bench.settle()
    text, kind = bench.status
    assert kind == "ready"
    assert "Stand-in: it knows boxes only: clicks are turned into a box" in text


def test_switching_frees_the_last_model(bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[Any] = []
    made = little.make

    def make(sources: Any) -> Any:
        model = made(sources)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(little, "make", make)
    path = little.write(folder / "lite_medsam.pth")
    bench.choose("litemedsam")
    bench.draw()
    bench.settle()
    bench.choose(registry.reference("litemedsam-scribble", path))  # which refuses the box, so an error is kept
    assert bench.draft.error is not None
    bench.choose("contour")
    gc.collect()
    assert [ref() is None for ref in alive] == [True, True]


# -- files -----------------------------------------------------------------------------------------------------


def test_a_dropped_file_is_asked_for_once_and_used_in_place(bench: Bench, tmp_path: Path) -> None:
    path = little.write(tmp_path / "epoch_7.pth")
    dialog = bench.dialog()
    assert drop(bench.dock, path)
    bench.settle()
    question = bench.dock.model.question
    assert question.isVisible()
    assert set(question.buttons) == {"litemedsam", "litemedsam-scribble"}
    QTest.mouseClick(question.buttons["litemedsam"], Qt.MouseButton.LeftButton)
    bench.settle()
    assert bench.models.reference == f"litemedsam@{path}"
    assert text_of(dialog, "litemedsam") == "in use: epoch_7.pth"
    assert bench.dock.model.combo.currentText() == "LiteMedSAM (epoch_7.pth)"

    bench.choose("contour")
    bench.dock.model.question = None
    copy = tmp_path / "copy.pth"
    copy.write_bytes(path.read_bytes())
    assert drop(dialog, copy)
    bench.settle()
    assert bench.dock.model.question is None, "the answer is remembered by the content"
    assert bench.models.reference == f"litemedsam@{copy}"


def test_a_question_that_is_not_answered_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.dock.model.take(str(little.write(tmp_path / "epoch_8.pth", value=8)))
    bench.settle()
    bench.dock.model.question.reject()
    assert bench.models.reference == "contour"
    assert bench.status == ("The file is not used.", "ready")


def test_what_is_no_file_of_weights_is_left_to_napari_or_refused(bench: Bench, tmp_path: Path) -> None:
    image = tmp_path / "ct.nii.gz"
    image.write_bytes(b"")
    assert not drop(bench.dock, image)
    page = tmp_path / "medsam.pth"
    page.write_bytes(little.HTML)
    assert drop(bench.dock, page)
    bench.settle()
    text, kind = bench.status
    assert kind == "error"
    assert "medsam.pth" in text
    assert bench.models.reference == "contour"


def test_a_script_that_cannot_be_asked_is_told(bench: Bench, tmp_path: Path) -> None:
    bench.models.choose_file(little.write(tmp_path / "epoch_9.pth", value=9))
    bench.settle()
    assert "litemedsam@epoch_9.pth" in bench.status[0]


# -- fetching --------------------------------------------------------------------------------------------------


def published(tmp_path: Path, url: str, name: str, layout: str = "mobile-sam") -> tuple[WeightFile, bytes]:
    """A file of weights that a server gives."""
    content = little.write(tmp_path / "published" / name, layout, value=float(len(name))).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return WeightFile(name, len(content), sha256, f"{url}/{name}"), content


def test_fetching_brings_the_base_first_and_then_uses_the_model(
    rows: Any, make_bench: Callable[[], Bench], folder: Path, tmp_path: Path
) -> None:
    with loopback.Loopback([loopback.status(500)]) as server:
        base, first = published(tmp_path, server.address, "base.pth", "samus")
        own, second = published(tmp_path, server.address, "own.pth", "msa-adapters")
        server.answers = [loopback.Content(first), loopback.Content(second)]
        melanoma = little.a_row("msa-melanoma", own)
        rows(melanoma, replace(registry.row("sam-vit-b"), files=(base,)))
        bench = make_bench()
        shown: list[tuple[str, int, int]] = []
        bench.models.progressed.connect(lambda *told: shown.append(told))
        dialog = bench.dialog()
        bench.select("msa-melanoma")
        assert dialog.fetch_button.text().startswith("Fetch ")
        assert not dialog.use_button.isEnabled()
        QTest.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
        gui.until(lambda: bench.models.reference == "msa-melanoma")
        bench.settle()
        assert [asked.path for asked in server.asked] == ["/base.pth", "/own.pth"]
    names = [name for name, done, total in shown if done]
    assert names[0] == "sam-vit-b"
    assert names[-1] == "msa-melanoma"
    assert shown[-1] == ("", 0, 0)
    assert dialog.going.isHidden()
    assert (folder / "own.pth").read_bytes() == second
    assert text_of(dialog, "msa-melanoma") == "in use"
    assert text_of(dialog, "sam-vit-b") == "on disk"


def test_a_download_can_be_stopped_and_goes_on_and_only_one_runs(
    rows: Any, make_bench: Callable[[], Bench], folder: Path, tmp_path: Path
) -> None:
    with loopback.Loopback([loopback.status(500)]) as server:
        file, content = published(tmp_path, server.address, "adapters.pth", "msa-adapters")
        server.answers = [loopback.Content(content, stall=2**16), loopback.Content(content)]
        rows(little.a_row("mobile-sam", file))
        bench = make_bench()
        dialog = bench.dialog()
        bench.select("mobile-sam")
        dialog.fetch_button.click()
        gui.until(lambda: dialog.progress.value() > 0)
        assert dialog.progress_label.text() == "MobileSAM: 66 kB of 295 kB"
        assert bench.dock.model.text.text() == dialog.progress_label.text()
        assert not dialog.fetch_button.isEnabled()
        bench.models.fetch("sam-vit-b")
        assert "MobileSAM is being fetched" in bench.status[0]
        dialog.stop_button.click()
        bench.settle()
        assert bench.status == ("The download was stopped; it goes on from there next time.", "ready")
        assert text_of(dialog, "mobile-sam") == "incomplete: 66 kB of 295 kB"
        assert bench.models.reference == "contour"
        dialog.fetch_button.click()
        bench.settle()
        assert server.ranges == ["", f"bytes={2**16}-"]
    assert (folder / "adapters.pth").read_bytes() == content
    assert bench.models.reference == "contour", "these are no weights of MobileSAM, whatever their name"
    assert "does not hold weights of MobileSAM" in bench.status[0]


def test_a_failed_download_is_told_and_nothing_else_changes(
    rows: Any, make_bench: Callable[[], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with loopback.Loopback([loopback.status(404)]) as server:
        file, _ = published(tmp_path, server.address, "mobile_sam.pt")
        rows(little.a_row("mobile-sam", file))
        bench = make_bench()
        bench.models.fetch("mobile-sam")
        bench.settle()
        assert bench.status[1] == "error"
        assert "404" in bench.status[0]
        asked = len(server.asked)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        dialog = bench.dialog()
        assert text_of(dialog, "mobile-sam").endswith("offline now")
        bench.models.fetch("mobile-sam")
        bench.settle()
        assert "offline" in bench.status[0]
        assert len(server.asked) == asked
    assert (bench.models.reference, bench.models.fetching) == ("contour", "")


def test_a_file_that_only_a_person_gets_opens_its_page_and_waits(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    dialog = bench.dialog()
    bench.select("litemedsam")
    assert text_of(dialog, "litemedsam") == "get it by hand"
    assert not dialog.fetch_button.isEnabled()
    dialog.page_button.click()
    assert opened == ["https://example.org/lite"]
    assert dialog.message.text() == bench.status[0]
    assert "drop it here" in bench.status[0]
    little.write(folder / "lite_medsam.pth")
    dialog.returned.emit()  # the user comes back from the browser
    bench.settle()
    assert text_of(dialog, "litemedsam") == "on disk"
    dialog.use_button.click()
    bench.settle()
    assert bench.models.reference == "litemedsam"


def test_closing_stops_the_download_though_the_server_stalls(
    rows: Any, make_bench: Callable[[], Bench], tmp_path: Path
) -> None:
    with loopback.Loopback([loopback.status(500)]) as server:
        file, content = published(tmp_path, server.address, "adapters.pth", "msa-adapters")
        server.answers = [loopback.Content(content, stall=2**16)]
        rows(little.a_row("mobile-sam", file))
        bench = make_bench()
        bench.models.fetch("mobile-sam")
        gui.until(lambda: len(server.asked) == 1)
        bench.controller.close()
        started = time.monotonic()
        gui.until(lambda: not any(t.name == "napari-medsam weights" for t in threading.enumerate()))
        assert time.monotonic() - started < loopback.STALL / 2


# -- at start, device ------------------------------------------------------------------------------------------


def test_the_model_at_start_is_loaded_with_the_first_image(
    rows: Any, make_bench: Callable[[], Bench], folder: Path
) -> None:
    little.write(folder / "lite_medsam.pth")
    store_setting("proposals.model", "litemedsam")
    viewer = ViewerModel()
    dock = SegmentDock(viewer)
    empty = Bench(viewer, dock)
    empty.settle()
    assert empty.models.reference == "contour", "nothing is loaded before there is an image"
    dock.controller.close()
    bench = make_bench()
    assert bench.models.reference == "litemedsam"
    assert bench.controller.session.model == "litemedsam"


def test_a_model_at_start_that_is_not_here_is_told_and_the_default_is_used(
    rows: Any, make_bench: Callable[[], Bench]
) -> None:
    store_setting("proposals.model", "litemedsam")
    bench = make_bench()
    assert bench.models.reference == "contour"
    assert bench.status[1] == "error"
    assert "LiteMedSAM, the model at start, is not used: get it by hand. Contour" in bench.status[0]
    bench.draw()
    bench.settle()
    assert bench.draft.prediction is not None


def test_a_device_is_taken_or_refused_in_words_and_the_model_works_on(bench: Bench, folder: Path, gate: Gate) -> None:
    gate.release.set()
    path = little.write(folder / "own.pth")
    bench.choose(registry.reference("litemedsam", path))
    dialog = bench.dialog()
    assert [dialog.devices.itemText(i) for i in range(dialog.devices.count())] == ["auto", *bench.models.loaded.devices]
    digest = bench.models.loaded.spec.digest
    dialog.precision.emit("float16")
    bench.settle()
    assert bench.models.reference == f"litemedsam@{path}"
    assert len(gate.threads) == 2
    assert bench.models.loaded.spec.digest != digest
    dialog.device.emit("cuda:77")
    bench.settle()
    assert "no device 'cuda:77' here" in bench.status[0]
    assert setting("models.device", "") == "auto", "what does not work is not kept"
    assert dialog.devices.currentText() == "auto"
    assert setting("models.precision", "") == "float16"
    bench.draw()
    bench.settle()
    assert bench.draft.prediction.mask.sum() == 140
    assert len(gate.threads) == 2, "the model that was there answers"


def test_a_device_for_a_built_in_model_is_kept_for_the_next(bench: Bench, folder: Path) -> None:
    bench.models.set_compute(device="cpu")
    assert "Contour" in bench.status[0]
    little.write(folder / "lite_medsam.pth")
    bench.choose("litemedsam")
    assert bench.models.loaded.device == "cpu"


def test_two_viewers_have_a_model_each_and_share_the_settings(rows: Any, make_bench: Callable[[], Bench]) -> None:
    one, two = make_bench(), make_bench()
    one.choose("starter")
    one.models.set_compute(precision="float32")
    assert two.models.reference == "contour"
    assert two.models.compute.precision == "float32"
    again = SegmentDock(one.viewer)
    assert again.model.combo.currentData() == "starter"
    again.deleteLater()


# -- the window ------------------------------------------------------------------------------------------------


def test_the_window_shows_every_state(bench: Bench, folder: Path) -> None:
    def put(name: str, size: int) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    put("sam_vit_b_01ec64.pth", 375042383)
    put("MedSAM2_latest.pt.part", 12_000_000)
    put("sam2.1_hiera_tiny.pt", 1000)
    put("samed_h.pth", 21_700_000)
    dialog = bench.dialog()
    expected = {
        "contour": "in use",
        "starter": "built in",
        "sam-vit-b": "on disk",
        "sam-vit-h": "needs 2.6 GB",
        "litemedsam": "get it by hand",
        "medsam2": "incomplete: 12 MB of 156 MB",
        "sam2.1-tiny": "wrong file",
        "samed-h": "needs sam-vit-h beside",
    }
    assert {name: text_of(dialog, name) for name in expected} == expected
    bench.select("sam2.1-tiny")
    assert "1,000 bytes instead of 156,008,466" in dialog.details.text()
    assert not dialog.fetch_button.isEnabled()
    bench.select("samed-h")
    assert dialog.fetch_button.text() == "Fetch SAM ViT-H"
    assert "right kidney" in dialog.details.text()
    bench.select("medsam2")
    assert dialog.fetch_button.text() == "Fetch 144 MB"
    assert "CC-BY-SA-4.0" in dialog.details.text()
    dialog.words.setText("kidney mit")
    shown = [item.text(0) for item in dialog._lines() if not item.isHidden() and not item.parent().isHidden()]
    assert shown == ["SAMed", "SAMed (small file)", "SAMed ViT-H"]
    dialog.words.setText("")
    bench.models.changed.emit()
    assert dialog.value() == "medsam2", "a refresh keeps the selection"


def test_opening_the_window_does_not_wait_for_the_folders(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weights folder on a slow network drive."""
    release = threading.Event()
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (release.wait(20), scan(path))[1])
    bench.dock.model.open()
    QApplication.processEvents()
    assert bench.dock.model.dialog.isVisible()
    assert not bench.dock.model.dialog.message.text()
    release.set()
    bench.settle()
