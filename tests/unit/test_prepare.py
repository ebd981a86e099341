"""Volumes prepared from a script and from the shell, with real files: work is counted, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_medsam import api
from napari_medsam.cli import main
from napari_medsam.embeddings import DiskTier, EmbeddingStore, cache_folder
from napari_medsam.errors import GeometryError, UnsupportedError, WriteError
from napari_medsam.geometry import Plane
from napari_medsam.models.starter import Starter
from napari_medsam.preparation import Preparation
from napari_medsam.prompts import Box, Prompts
from napari_medsam.propagation.stack import Stack
from napari_medsam.propagation.subject import Span

from ..contract.fakes import BoxFake
from .fakes import WINDOW, axial, grid, image

BOX = Prompts(Box(1, 2, 5, 6))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def test_a_prepared_image_is_segmented_without_an_encode_on_another_day(folder: Path) -> None:
    model = BoxFake()
    done = api.prepare_image(image(), model=model, window=WINDOW, store=api.user_store(folder, disk=1 << 20))
    assert (done.total, done.ready, done.encoded, model.encoded) == (4, 4, 4, 4)
    assert done.size == 8
    other = BoxFake()
    store = api.user_store(folder, disk=1 << 20)
    api.segment_image(image(), [api.Task(axial(2), BOX)], window=WINDOW, model=other, store=store)
    api.propagate_image(image(), [api.Task(axial(1), BOX)], window=WINDOW, model=other, store=store)
    assert other.encoded == 0
    again = api.prepare_image(image(), model=other, window=WINDOW, store=api.user_store(folder, disk=1 << 20))
    assert (again.ready, again.encoded, other.encoded) == (4, 0, 0)
    api.segment_image(image(), [api.Task(axial(2), BOX)], model=other, store=store)
    assert other.encoded == 1, "another window shows the model other pixels"


def test_coronal_slices_a_range_and_where_to_begin(folder: Path) -> None:
    seen: list[Preparation] = []
    stack = Stack.through(Plane.across(1, 0), (4, 6, 8))
    done = api.prepare_image(
        image(),
        model=BoxFake(),
        stack=stack,
        span=Span(1, 4),
        shown=3,
        store=api.user_store(folder),
        progress=seen.append,
    )
    assert (done.total, done.ready) == (4, 4)
    assert [list(now.keys)[-1] for now in seen] == [3, 4, 2, 1]


def test_cancelling_keeps_what_is_done(folder: Path) -> None:
    done = api.prepare_image(image(), model=BoxFake(), store=api.user_store(folder), cancelled=lambda: True)
    assert (done.total, done.ready, done.encoded) == (4, 1, 1)
    assert DiskTier(folder).usage().entries == 1


def test_a_budget_too_small_for_the_volume_is_said_after_the_first_slice(folder: Path) -> None:
    model = BoxFake()
    with pytest.raises(WriteError, match=r"4 slices take .* are allowed for .*kept"):
        api.prepare_image(image(), model=model, store=EmbeddingStore(100, DiskTier(folder, 30)))
    assert model.encoded == 1


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        api.prepare_image(image(), model=BoxFake(), store=api.user_store(tmp_path / "file"))


def test_what_gains_nothing_is_refused(folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="as fast as a disk reads"):
        api.prepare_image(image(), model=Starter(), store=api.user_store(folder))
    flat = image(np.zeros((6, 8), np.int16), grid=grid((6, 8)))
    with pytest.raises(GeometryError, match="single slice"):
        api.prepare_image(flat, model=BoxFake(), store=api.user_store(folder))


# -- from the shell --------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 255, (12, 6, 8)).astype(np.uint8))
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> BoxFake:
    """The model that every command loads."""
    model = BoxFake()
    monkeypatch.setattr(api, "load_model", lambda *args, **more: model)
    return model


def test_prepare_tells_what_is_ready_and_the_second_time_encodes_nothing(
    volume: Path, folder: Path, fake: BoxFake, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(volume), "--cache", str(folder)]
    assert main([*words, "--from", "2", "--to", "5"]) == 0
    assert "4 of 4 slices are ready, 4 of them encoded now" in capsys.readouterr().out
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "12 of 12 slices are ready, 8 of them encoded now" in out
    assert f"in {folder}" in out
    assert fake.encoded == 12


def test_cache_says_where_and_how_much_and_clears(
    volume: Path, fake: BoxFake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NAPARI_MEDSAM_CACHE", str(tmp_path / "elsewhere"))
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("0 slices")
    assert main(["prepare", str(volume)]) == 0
    capsys.readouterr()
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.startswith("12 slices, 0.0 of ")
    assert main(["cache", "--clear"]) == 0
    assert "0 slices" in capsys.readouterr().out
    assert DiskTier(cache_folder()).usage().entries == 0


def test_what_was_prepared_in_the_shell_serves_segment(volume: Path, fake: BoxFake, tmp_path: Path) -> None:
    window = ["--window", "0,255"]
    assert main(["prepare", str(volume), *window]) == 0
    assert main(["segment", str(volume), *window, "--box", "3,1,2,5,6", "-o", str(tmp_path / "labels.nii.gz")]) == 0
    assert fake.encoded == 12
    DiskTier(cache_folder()).clear()


@pytest.mark.parametrize("budget", ["0", "-1", "much"])
def test_a_budget_that_is_none_is_refused(volume: Path, budget: str) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", str(volume), "--cache-mb", budget])


INTERRUPTED = """
import sys, threading, time
from napari_medsam import api
from napari_medsam.cli import main
from tests.contract.fakes import SlowFake

class Loud(SlowFake):
    def encode(self, plane):
        found = super().encode(plane)
        if self.encoded == 4:
            print("four", flush=True)
            time.sleep(60)
        return found

api.load_model = lambda *args, **more: Loud(0.001)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(volume: Path, folder: Path, fake: BoxFake) -> None:
    words = ["prepare", str(volume), "--cache", str(folder)]
    running: Any = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout.readline() == "four\n"
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "the same command goes on" in error
    assert DiskTier(folder).usage().entries == 3
    assert main(words) == 0
    assert fake.encoded == 9
