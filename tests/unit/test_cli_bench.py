"""`napari-medsam bench`: what it measures, how it judges, and what it prints."""

from __future__ import annotations

import json

import pytest

from napari_medsam.cli import main
from napari_medsam.cli.bench import USUAL, YARDSTICK, estimates, heading, line
from napari_medsam.errors import ModelError
from napari_medsam.models import cost, registry
from napari_medsam.models.compute import Compute
from napari_medsam.models.cost import Cost, Verdict

FREE = 8000.0
"""MB."""


@pytest.mark.parametrize(
    ("encode_s", "decode_s", "memory_mb", "verdict"),
    [
        (2.0, 0.3, 400, Verdict.COMFORTABLE),
        (2.1, 0.1, 400, Verdict.USABLE),
        (0.1, 0.4, 400, Verdict.USABLE),
        (15.5, 0.1, 400, Verdict.SLOW),
        (0.1, 1.1, 400, Verdict.SLOW),
        (0.1, 0.1, 8001, Verdict.TOO_LARGE),
    ],
)
def test_a_verdict_looks_at_encode_decode_and_memory(
    encode_s: float, decode_s: float, memory_mb: float, verdict: Verdict
) -> None:
    assert Cost("medsam", encode_s, decode_s, memory_mb, "random weights").verdict(FREE) == verdict


def test_a_small_network_is_measured() -> None:
    pytest.importorskip("torch")
    from napari_medsam.models import sam
    from napari_medsam.models.sam_encoder import EncoderConfig

    tiny = EncoderConfig(width=24, depth=2, heads=3, global_blocks=(1,), size=64, window=2, patch=16)
    found = cost.of_network("medsam", sam.network, tiny, Compute("cpu", "float32"))
    assert (found.name, found.how, found.where) == ("medsam", "random weights", "cpu, float32")
    assert 0 < found.encode_s < 60
    assert 0 < found.decode_s < 60
    assert found.memory_mb >= 0


def test_on_a_gpu_its_memory_counts() -> None:
    pytest.importorskip("torch")
    from tests.far import GIB, far_device

    from napari_medsam.models import sam
    from napari_medsam.models.sam_encoder import EncoderConfig

    tiny = EncoderConfig(width=24, depth=2, heads=3, global_blocks=(1,), size=64, window=2, patch=16)
    with far_device():
        found = cost.of_network("medsam", sam.network, tiny, Compute())
    assert found.where == "cuda:0, bfloat16"
    assert found.free_mb == 8 * GIB / 1e6
    assert Cost("medsam", 1.0, 0.1, 9000, "random weights", free_mb=8590).verdict(64_000) == Verdict.TOO_LARGE


def test_each_usual_model_can_be_measured_without_its_weights() -> None:
    pytest.importorskip("torch")
    sides = {row.name: cost.side_of(cost.shape_of(row)) for row in map(registry.row, USUAL) if not row.built_in}
    assert sides == {"litemedsam": 256, "mobile-sam": 1024, "medsam2": 512, "sam2.1-tiny": 1024, "medsam": 1024}


def test_a_model_of_unknown_size_asks_for_its_weights() -> None:
    with pytest.raises(ModelError, match="napari-medsam fetch samed-b"):
        cost.shape_of(registry.row("samed-b"))


def test_a_long_encode_is_done_once_and_a_short_one_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    seconds, found = cost.timed(lambda: done.append(1) or len(done))
    assert (found, len(done)) == (2, 2)
    assert seconds >= 0
    monkeypatch.setattr(cost, "AGAIN_BELOW", -1.0)
    cost.timed(lambda: done.append(1))
    assert len(done) == 3


def test_others_are_estimated_by_the_table_of_models_once_a_size() -> None:
    rows = [registry.row(name) for name in USUAL]
    yardstick = Cost(YARDSTICK, 10.0, 0.1, 700, "random weights", "cpu, float32")
    found = {one.name: one for one in estimates([yardstick], rows)}
    assert found["sam-vit-l"].encode_s == pytest.approx(10.0 * registry.row("sam-vit-l").speed)
    assert found["sam-vit-l"].how == "estimated"
    assert "sam-vit-b" not in found  # the same network as the yardstick's
    assert len({(registry.row(name).layout, registry.row(name).input_size) for name in found}) == len(found)
    assert estimates([Cost("contour", 0, 0, 0, "built in")], rows) == []


def test_the_built_in_model_is_measured_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "contour", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (one,) = told["models"]
    assert (one["name"], one["how"]) == ("contour", "built in")
    assert one["decode_s"] > 0
    assert one["verdict"] in set(Verdict)
    assert "cores" in told["machine"]


def test_what_could_not_be_measured_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "contour", "--seconds", "0"]) == 0
    assert "contour              not measured: the 0 s are over (--seconds gives more)" in capsys.readouterr().out
    assert main(["bench", "samed-b", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["models"] == []
    assert "napari-medsam fetch samed-b" in told["not_measured"]["samed-b"]


def test_lines_stand_under_their_heading() -> None:
    text = line(registry.row("medsam"), Cost("medsam", 4.04, 0.09, 765, "random weights", "cpu, bfloat16"), FREE)
    assert text.endswith("usable")
    assert heading().index("verdict") == text.index("usable")
    assert heading().index("encode s") + len("encode s") == text.index("4.04") + len("4.04")


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "medsan"]) == 1
    assert "There is no model called 'medsan'" in capsys.readouterr().err
