"""How long the event loop stands still while a model works, and how long a drawn box takes to its preview.

    python benchmarks/event_loop.py [--json FILE] [--prompts 20] [--only NAME ...]

A ticking timer runs in a real viewer on a 512 x 512 x 300 volume: with nothing asked; with boxes drawn on slice after
slice for a model that answers at once, one that sleeps 0.5 s a slice, and the built-in contour; while slices are
encoded by a network, also ahead of scrolling; while the weights of SAM ViT-B are loaded (torch is imported then), or
fetched from a server of its own; while an object is followed through the volume, and while the volume is prepared. The
gap between ticks, less the timer's own interval, is the stall; the model that answers at once shows what napari itself
takes to draw. Needs a display (`python dev.py exec --display -- python benchmarks/event_loop.py`) and a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtWidgets import QApplication

from napari_medsam.geometry import Plane
from napari_medsam.models.base import Embedding, Prediction
from napari_medsam.models.contour import Contour
from napari_medsam.phantom import ct_phantom
from napari_medsam.prompts import Box, Prompts
from napari_medsam.widgets.coordinates import to_viewer_world
from napari_medsam.widgets.model_choice import ModelChoice

SHAPE = (300, 512, 512)
PORT = 8791
TICK_MS = 2
OPTIONS = argparse.Namespace(prompts=20, device="cpu")
"""What the command line says."""


class AtOnce(Contour):
    """Answers with the box itself."""

    def decode(self, embedding: Embedding, prompts: Prompts) -> Prediction:
        mask = np.zeros((1, *embedding.shape), dtype=bool)
        if prompts.box is not None:
            mask[0][prompts.box.slices] = True
        return Prediction(mask, np.ones(1))


class Sleeping(AtOnce):
    """The same, after a sleep of half a second a slice."""

    def encode(self, plane: NDArray[np.uint8]) -> Embedding:
        time.sleep(0.5)
        return super().encode(plane)


def gaps_while(act: Callable[[], None]) -> list[float]:
    """Milliseconds between ticks, beyond the timer's own interval, while `act` runs."""
    ticks: list[float] = []
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(TICK_MS)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start()
    act()
    timer.stop()
    return [max(1e3 * (b - a) - TICK_MS, 0.0) for a, b in itertools.pairwise(ticks)]


def turn_loop(seconds: float) -> None:
    """Run the event loop for a while; it sleeps between events, as napari's does."""
    loop = QEventLoop()
    QTimer.singleShot(round(1e3 * seconds), loop.quit)
    loop.exec()


def turn_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    """Run the event loop until something is true, at most for a while."""
    end = time.perf_counter() + seconds
    while not true() and time.perf_counter() < end:
        turn_loop(0.02)


def open_bench(load: Callable[[str], Any] | None) -> tuple[Any, Any]:
    """A viewer with the dock on a big volume; `load` makes models, None for the plugin's own way."""
    own = OWN if load is None else lambda self, reference: load(reference)
    ModelChoice.load = own  # type: ignore[method-assign]
    image, _, _ = ct_phantom(SHAPE)
    viewer = napari.Viewer(show_welcome_screen=False)
    spacing, origin = image.grid.spacing, tuple(image.grid.affine[:3, 3])
    viewer.add_image(np.asarray(image.data), scale=spacing, translate=origin, units=("mm",) * 3)
    _, dock = viewer.window.add_plugin_dock_widget("napari-medsam", "Prompt segmentation")
    turn_loop(1.0)
    return viewer, dock.controller


def prompt(viewer: Any, controller: Any, number: int) -> float:
    """Draw a box on a slice that was not seen yet; milliseconds until its preview is painted."""
    plane, box = Plane.across(0, 100 + number), Box(120, 90, 330, 320)
    viewer.dims.point = tuple(to_viewer_world(viewer, controller.image, plane.to_index([(0, 0)])[0])[0])
    turn_loop(0.05)
    boxes = controller.proposals.layers.boxes
    boxes.data = []
    QApplication.processEvents()
    start = time.perf_counter()
    boxes.add_rectangles(plane.to_index(box.outline))
    while not any(d.prediction is not None for d in controller.session.drafts.values()):
        QApplication.processEvents()
    QApplication.processEvents()
    return 1e3 * (time.perf_counter() - start)


def boxes(viewer: Any, controller: Any) -> list[float]:
    """Boxes on slice after slice; how long each took to its preview."""
    controller.draw("box")
    return [prompt(viewer, controller, number) for number in range(OPTIONS.prompts)]


def nothing(viewer: Any, controller: Any) -> list[float]:
    """Look at the picture."""
    turn_loop(5.0)
    return []


def scrolling(viewer: Any, controller: Any) -> list[float]:
    """Go through slices and rest now and then, so that what lies ahead is encoded."""
    controller.models.reference = "sam-vit-b"  # one that is worth it
    controller.models.settled.emit()
    for number in range(12):
        viewer.dims.point = tuple(to_viewer_world(viewer, controller.image, (100 + number, 0, 0))[0])
        turn_loop(0.5)
    return []


def loading(viewer: Any, controller: Any) -> list[float]:
    """Load SAM ViT-B with random weights from a file."""
    controller.models.choose(f"sam-vit-b@{random_weights()}")
    turn_until(lambda: not controller.models.loading)
    assert controller.models.loaded is not None, controller.status
    return []


def fetching(viewer: Any, controller: Any) -> list[float]:
    """Fetch those weights from a server on this machine."""
    from napari_medsam.models.checkpoints.choices import Remembered
    from napari_medsam.models.checkpoints.fetch import fetch
    from napari_medsam.models.row import WeightFile
    from napari_medsam.widgets.model_work import Going

    folder, stage, over = Path(random_weights()).parent, controller.models._stage, list[str]()
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(PORT), "--bind", "127.0.0.1", "-d", str(folder)]
    )
    turn_loop(1.5)
    url = f"http://127.0.0.1:{PORT}/{Path(random_weights()).name}"
    file = WeightFile("fetched.pth", size=Path(random_weights()).stat().st_size, url=url)

    def work() -> object:
        def going(done: int, total: int) -> None:
            stage.send(Going("sam-vit-b", done, total))

        with tempfile.TemporaryDirectory() as there:
            own = Remembered(Path(there) / "remembered.json")  # the file is another one when it is made anew
            try:
                fetch(file, Path(there), going, lambda: False, remembered=own)
                over.append("")
            except Exception as error:
                over.append(str(error))
        return None

    controller.models.fetching = "sam-vit-b"
    stage.start(work)
    turn_until(lambda: bool(over))
    controller.models.fetching = ""
    server.kill()
    server.wait()
    assert over == [""], f"nothing was fetched: {', '.join(over)}"
    return []


def following(viewer: Any, controller: Any) -> list[float]:
    """Follow an object through the whole volume."""
    prompt(viewer, controller, 50)
    controller.attempt(controller.volume.propagate)
    turn_until(lambda: not controller.volume.growing.running, 60)
    return []


def preparing(viewer: Any, controller: Any) -> list[float]:
    """Prepare the volume for a while."""
    controller.models.reference = "sam-vit-b"
    controller.models.settled.emit()
    controller.attempt(controller.prepare.start)
    turn_loop(8.0)
    assert controller.prepare.running, controller.status
    controller.prepare.stop()
    return []


def random_weights() -> str:
    """A file of weights of SAM ViT-B; made by another process, so that torch is not imported here."""
    path = Path(tempfile.gettempdir()) / "napari-medsam-benchmark" / "sam_vit_b_random.pth"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        code = (
            "import sys, torch; from napari_medsam.models.sam import VIT_B, architecture; "
            "made = architecture(VIT_B).state_dict(); torch.save(made, sys.argv[1])"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return str(path)


def network(blocks: int = 2) -> Any:
    """SAM at its real size with a shorter encoder, with random weights."""
    from napari_medsam.models import beside_mesa, registry

    beside_mesa.import_triton()
    from napari_medsam.models.compute import Compute
    from napari_medsam.models.frame_sam import SAM
    from napari_medsam.models.sam import network as made
    from napari_medsam.models.sam_encoder import EncoderConfig
    from napari_medsam.models.sam_segmenter import SamSegmenter

    found = made(EncoderConfig(768, blocks, 12, (blocks - 1,)), Compute(OPTIONS.device, "float32"))
    return SamSegmenter(registry.row("sam-vit-b").spec("random"), SAM, found)


def measure(name: str, load: Callable[[str], Any] | None, work: Callable[[Any, Any], list[float]]) -> dict[str, Any]:
    """One row of the table: the loop while `work` is done with what `load` makes, None for the plugin's own models."""
    viewer, controller = open_bench(load)
    controller.draw("box")
    turn_loop(0.5)
    times: list[float] = []
    try:
        gaps = gaps_while(lambda: times.extend(work(viewer, controller)))
    except AssertionError as error:  # it did not do what is measured
        return {"name": name, "failed": str(error)}
    finally:
        viewer.close()
        turn_loop(0.5)
    q = np.percentile(gaps, [50, 95, 99])
    row = {"name": name, "ticks": len(gaps), "p50": q[0], "p95": q[1], "p99": q[2], "longest": max(gaps)}
    if times:
        row |= {"prompt_p50": statistics.median(times), "prompt_p95": float(np.percentile(times, 95))}
    return row


OWN = ModelChoice.load
CASES: dict[str, tuple[Callable[[str], Any] | None, Callable[[Any, Any], list[float]]]] = {
    "loading": (None, loading),  # the first, for it imports torch
    "nothing asked": (lambda _: Contour(), nothing),
    "answer at once": (lambda _: AtOnce(), boxes),
    "0.5 s an encode": (lambda _: Sleeping(), boxes),
    "contour": (lambda _: Contour(), boxes),
    "encoding": (lambda _: network(), boxes),
    "encoding ahead": (lambda _: network(), scrolling),
    "fetching": (lambda _: Contour(), fetching),
    "following": (lambda _: Contour(), following),
    "preparing": (lambda _: network(), preparing),
}


def line_of(r: dict[str, Any]) -> str:
    """A line of the table."""
    if "failed" in r:
        return f"{r['name']:18s} not measured: {r['failed']}"
    prompt_times = f"{r['prompt_p50']:.0f}, {r['prompt_p95']:.0f}" if "prompt_p50" in r else "-"
    line = f"{r['name']:18s} {r['ticks']:6d} {r['p50']:7.1f} {r['p95']:7.1f} {r['p99']:7.1f} {r['longest']:8.1f}"
    return f"{line}  {prompt_times}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prompts", type=int, default=OPTIONS.prompts, help="boxes a row, where boxes are drawn")
    parser.add_argument("--device", default=OPTIONS.device, help="of the networks: cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    options = parser.parse_args(namespace=OPTIONS)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, napari {napari.__version__}"
    print(f"{machine}; {SHAPE} int16; milliseconds")
    random_weights()
    print(f"{'':18s} {'ticks':>6s} {'p50':>7s} {'p95':>7s} {'p99':>7s} {'longest':>8s}  box to preview p50, p95")
    rows = []
    for name in options.only:
        r = measure(name, *CASES[name])
        rows.append(r)
        print(line_of(r), flush=True)
        if options.json:  # after each row, so that it is there when a later one fails
            options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
