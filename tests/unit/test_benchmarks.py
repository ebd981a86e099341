"""`benchmarks/run.py`: what cannot be had costs its own rows and says why, and all that is printed is written."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import keeping  # noqa: E402
import networks  # noqa: E402
import peers  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402
import windows  # noqa: E402
import worker as one_worker  # noqa: E402


@pytest.fixture(autouse=True)
def _versions_of_a_machine_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "version", lambda name: "2.0+cpu")


class Pip:
    """Installs all but some."""

    def __init__(self, *without: str) -> None:
        self.without = without
        self.asked: list[str] = []

    def __call__(self, *words: str) -> str:
        name = words[-1].partition("==")[0]
        self.asked.append(name)
        return "no route to it" if name in self.without else ""


def script(folder: Path, name: str, code: str) -> None:
    (folder / name).write_text(code)


def worker(kind: str, encode: float, added: float) -> networks.Worker:
    """One that has prepared, at a different pace, and then worked three times; the wall takes twice the processor's."""
    first = {"encode": [[90.0, 90.0]], "decode": [[9.0, 9.0]], "added_mb": 1.0}
    told = {"encode": [[2 * encode, encode]], "decode": [[0.2, 0.1]] * 7, "added_mb": added}
    return networks.Worker(kind, answers=[first, told, told, told])


def test_a_package_that_cannot_be_installed_costs_its_own_rows() -> None:
    found = peers.Peers("python", {}, peers.add({}, Pip("mobilesam-lite")))
    without = {kind for kind in peers.NEEDS if found.why_not(kind)}
    assert without == {"mobile-sam", "litemedsam"}
    assert found.why_not("mobile-sam") == "mobilesam-lite 0.1.2 could not be installed: no route to it"


def test_without_torch_no_peer_is_tried() -> None:
    pip = Pip("torch")
    found = peers.Peers("python", {}, peers.add({}, pip))
    assert pip.asked == ["numpy", "psutil", "torch"]
    assert all("torch" in found.why_not(kind) for kind in peers.NEEDS)


def test_what_is_there_is_not_installed_again() -> None:
    pip = Pip()
    here = dict.fromkeys(peers.BASE, "2.0") | {"timm": "1.9", "mobilesam-lite": "0.1.2", "transformers": "2.0+own"}
    assert peers.add(here, pip) == {}
    assert pip.asked == ["segment-anything", "timm"]


def test_every_peer_has_what_it_needs_said() -> None:
    kinds = {kind for kinds in networks.GROUPS.values() for kind in kinds if not kind.startswith("ours:")}
    assert kinds == set(peers.NEEDS) == set(networks.STOCK)


def test_ratios_are_of_the_processors_median_to_each_peer() -> None:
    workers = [worker("segment-anything", 20.0, 2000.0), worker("transformers-sam", 16.0, 1000.0)]
    rows = networks.rows_of("encode", "SAM", [*workers, worker("ours:sam-vit-b:float32", 4.0, 500.0)])
    assert rows[2]["ratios"]["faster than segment-anything"] == {"processor": 5.0, "wall": 5.0}
    assert rows[2]["ratios"]["faster than transformers"]["processor"] == 4.0
    assert rows[0]["times"]["wall"] == {"least": 40.0, "median": 40.0, "n": 3}
    memory = networks.rows_of("memory", "SAM", [workers[0], worker("ours:sam-vit-b:float32", 4.0, 500.0)])
    assert memory[1]["ratios"] == {"what segment-anything adds": {"memory": 0.25}}


def test_on_a_gpu_the_wall_counts_and_batches_and_the_share_of_the_limit_are_told() -> None:
    stock = worker("segment-anything", 10.0, 2000.0)
    stock.ready["flops"] = 1e12
    ours = worker("ours:sam-vit-b:bfloat16", 1.0, 500.0)
    for one in ours.answers:
        one |= {"flops_per_s": 4e12, "batch": 8, "in batches": [[0.5, 0.1]]}
    stock.device = ours.device = "cuda"
    _, alone, together = rows = networks.rows_of("encode", "SAM", [stock, ours])
    assert [list(row["times"]) for row in rows] == [["wall"]] * 3
    assert alone["ratios"] == {"faster than segment-anything": {"wall": 10.0}, networks.LIMIT: {"wall": 0.125}}
    assert together["title"] == "ours, bfloat16, of 8 at a time"
    assert together["ratios"] == {"faster than segment-anything": {"wall": 40.0}, networks.LIMIT: {"wall": 0.5}}
    assert len(networks.rows_of("decode", "SAM", [stock, ours])) == 2
    group = next(iter(networks.GROUPS))
    assert set(networks.kinds_on("cuda", group)) - set(networks.kinds_on("cpu", group)) == {"ours:sam-vit-b:float16"}


def test_a_worker_answers_on_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("segment_anything")
    from segment_anything.modeling import ImageEncoderViT
    from tests.far import far_device

    from napari_medsam.models import cost
    from napari_medsam.models.sam_encoder import EncoderConfig
    from napari_medsam.models.sam_network import sam_heads

    narrow = EncoderConfig(width=24, depth=2, heads=2, global_blocks=(1,), size=256)
    monkeypatch.setattr(cost, "shape_of", lambda row: narrow)
    with far_device():
        ours = one_worker.ours("sam-vit-b", "bfloat16", "cuda")
        told = one_worker.once(ours, "cuda", 0.0)
        assert told["batch"] > 1
        assert (len(told["encode"]), len(told["in batches"])) == (one_worker.ENCODES, one_worker.BATCHES)
        assert set(told) == {"encode", "added_mb", "decode", "batch", "in batches"}
        assert one_worker.chosen("cuda") == "bfloat16"
        encoder = ImageEncoderViT(img_size=256, embed_dim=24, depth=2, num_heads=2, use_rel_pos=True, window_size=14)
        stock = one_worker.as_sam(encoder, *sam_heads(256, 16), 256, "cuda")
        assert set(one_worker.once(stock, "cuda", 0.0)) == {"encode", "added_mb", "decode"}
    blocks, patches, neck = 2 * 24 * (3 * 24 + 24 + 8 * 24), 3 * 16**2 * 24, 256 * (24 + 9 * 256)
    least = 2 * 16**2 * (blocks + patches + neck)  # two of each token and weight; then there are pairs and padding
    assert least < stock.flops < 1.2 * least


class Memory:
    """A GPU's, of which only the most since it was marked is known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = 0.0
        for name in ("empty_cache", "synchronize", "reset_peak_memory_stats"):
            monkeypatch.setattr(f"torch.cuda.{name}", getattr(self, name, lambda *words: None))
        monkeypatch.setattr("torch.cuda.memory_allocated", lambda *words: 300e6)
        monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda *words: 1e6 * self.most)

    def reset_peak_memory_stats(self, *words: Any) -> None:
        self.most = 300.0

    def takes(self, megabytes: float) -> None:
        self.most = max(self.most, 300.0 + megabytes)


def test_on_a_gpu_only_what_an_encode_adds_counts_also_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(monkeypatch)
    model = one_worker.Model(
        lambda: memory.takes(100), lambda features: memory.takes(40), lambda: 8, lambda count: memory.takes(100 * count)
    )
    assert [one_worker.once(model, "cuda", 0.0)["added_mb"] for _ in range(3)] == [100.0] * 3


def test_a_gpu_that_is_not_here_is_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run.arguments_of(["encode", "--device", "cuda:7"])
    assert "There is no device 'cuda:7' here" in capsys.readouterr().err


def test_where_the_peer_is_missing_there_is_no_ratio() -> None:
    missing = networks.Worker("mobile-sam", failed="no route to it")
    rows = networks.rows_of("decode", "MobileSAM", [missing, worker("ours:mobile-sam:float32", 1.0, 1.0)])
    assert rows[0]["skipped"] == "no route to it"
    assert "ratios" not in rows[1]
    told = "\n".join(tables.lines("decode", {"unit": "seconds", "rows": rows}))
    assert "not measured: no route to it" in told
    assert "times faster" not in told


def test_a_process_that_ends_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "HERE", tmp_path)
    script(tmp_path, "worker.py", "print('{}', flush=True); input(); raise SystemExit('it is out of memory')")
    with networks.started("ours:sam-vit-b:float32", None, 1) as one:
        assert not one.failed
        one.work()
        one.work()
    assert one.failed == "it is out of memory"
    script(tmp_path, "worker.py", "raise SystemExit('there is no such model')")
    with networks.started("ours:sam-vit-b:float32", None, 1) as one:
        one.work()
    assert one.failed == "there is no such model"
    with networks.started("mobile-sam", None, 1) as one:
        one.work()
    assert one.failed == "--no-peers"


def test_percentiles_are_of_enough_values() -> None:
    values = list(np.random.default_rng(0).random(101))
    assert tables.summary(values)["p95"] == pytest.approx(np.percentile(values, 95))
    assert "p95" not in tables.summary(values[:19])


def test_figures_stand_beside_their_heads_and_ratios_in_words() -> None:
    rows = [
        {"title": "stock", "times": {"wall": {"least": 1.0, "median": 2.0}}},
        {"title": "ours", "times": {"wall": {"median": 0.5}}, "ratios": {"faster than stock": {"wall": 4.0}}},
    ]
    head, clocks, statistics, stock, ours = tables.lines("encode", {"unit": "seconds", "rows": rows})
    assert head == "== encode, seconds"
    assert clocks.split() == ["wall"]
    assert statistics.index("median") + 6 == stock.index("2.00") + 4 == ours.index("0.500") + 5
    assert ours.endswith("4.00 times faster than stock")


def test_without_a_display_the_window_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(windows.shutil, "which", lambda name: None)
    options = run.arguments_of(["stall"])
    topic = run.topic_of("stall", run.run(windows.stalls, options), {})
    assert "xvfb-run" in topic["skipped"]
    assert next(tables.lines("stall", topic)).startswith("== stall: not measured: it needs a display")
    monkeypatch.setattr(windows.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert windows.virtual() == windows.XVFB
    monkeypatch.setenv("DISPLAY", ":3")
    assert windows.virtual() == ()


def test_what_a_script_wrote_before_it_failed_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "HERE", tmp_path)
    write = "import sys; open(sys.argv[2], 'w').write('{\"rows\": []}')"
    script(tmp_path, "half.py", f"{write}; raise SystemExit('nothing was fetched')")
    found = windows.run_script("half.py", ())
    assert (found["rows"], found["failed"]) == ([], "nothing was fetched")
    script(tmp_path, "none.py", "raise SystemExit('no canvas')")
    with pytest.raises(tables.Skipped, match=r"none\.py gave no figures: no canvas"):
        windows.run_script("none.py", ())


def test_all_is_written_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    measured: list[int] = []

    def measure(options: Any) -> None:
        measured.append(options.threads)

    def refuse(options: Any) -> None:
        raise tables.Skipped("not today")

    row = {"title": "ours", "times": {"wall": {"median": 0.5}}}
    topics = {
        "encode": (measure, lambda found, earlier: {"unit": "seconds", "rows": [row]}),
        "memory": (measure, lambda found, earlier: {"unit": "MB", "rows": [row], "notes": [*earlier]}),
        "stall": (refuse, None),
    }
    monkeypatch.setattr(run, "TOPICS", topics)
    monkeypatch.chdir(tmp_path)
    run.main(["--json", "there/told.json"])
    told = json.loads((tmp_path / "there" / "told.json").read_text())
    assert set(told) == {"date", "machine", "versions", "options", "topics"}
    assert told["topics"]["encode"]["rows"] == [row]
    assert told["topics"]["memory"]["notes"] == ["encode"]
    assert told["topics"]["stall"]["skipped"] == "not today"
    assert measured == [1], "what two topics need is measured once"
    assert all(len(topic["load"]["start"]) == len(topic["load"]["end"]) == 3 for topic in told["topics"].values())
    assert "stall: not measured: not today" in capsys.readouterr().out


def test_stalls_are_told_beside_those_of_napari_alone() -> None:
    def told(name: str, longest: float) -> dict[str, Any]:
        return {"name": name, "ticks": 900, "p50": 0.0, "p95": 1.0, "p99": 2.0, "longest": longest}

    rows = [told("nothing asked", 5.0), told("answer at once", 80.0), told("encoding", 120.0)]
    found = {"rows": [*rows, {"name": "fetching", "failed": "no server"}], "failed": "", "display": "the current one"}
    nothing, alone, encoding, fetching = windows.stall_table(found, {})["rows"]
    assert encoding["ratios"] == {"the longest stall without a model": {"late": 1.5}}
    assert "ratios" not in nothing | alone
    assert fetching["skipped"] == "no server"


def test_a_disk_that_cannot_be_written_is_told_in_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    tier = keeping.DiskTier
    monkeypatch.setattr(keeping, "DiskTier", lambda folder, most: tier(tmp_path / "file" / "store", most))
    with pytest.raises(tables.Skipped, match="Embeddings cannot be written to"):
        keeping.measure(run.arguments_of(["store", "--quick"]))


def test_an_embedding_that_is_lost_without_trouble_is_told(tmp_path: Path) -> None:
    with pytest.raises(tables.Skipped, match="not found again"):
        keeping.timed(lambda key: None, "0", keeping.DiskTier(tmp_path, 1))


def test_lines_that_are_no_answers_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "HERE", tmp_path)
    greets = "print('a library greets'); print('3', flush=True); sys.stdout.buffer.write(b'\\xff\\n')"
    answers = "print('{\"torch\": \"2\"}', flush=True); input(); print('again'); print('{\"added_mb\": 1}', flush=True)"
    script(tmp_path, "worker.py", f"import sys; {greets}; {answers}; input()")
    with networks.started("ours:sam-vit-b:float32", None, 1) as one:
        assert one.ready == {"torch": "2"}
        one.work()
        assert one.answers == [{"added_mb": 1}]
        assert not one.failed


@pytest.mark.parametrize("first", ["", "print('{}', flush=True); input();"])
def test_a_process_that_never_answers_is_ended(first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "HERE", tmp_path)
    monkeypatch.setattr(networks.processes, "LONGEST_ANSWER", 3.0)
    left = tmp_path / "left"
    waits = f"import pathlib, time; time.sleep(12); pathlib.Path({str(left)!r}).touch()"
    script(tmp_path, "child.py", waits)
    child = f"subprocess.Popen([sys.executable, {str(tmp_path / 'child.py')!r}])"  # it holds the pipe too
    hangs = f"print('a warning', file=sys.stderr, flush=True); {child}; {waits}"
    script(tmp_path, "worker.py", f"import subprocess, sys; {first} {hangs}")
    with networks.started("ours:sam-vit-b:float32", None, 1) as one:
        one.work()
        one.work()
        assert one.process is not None
        assert one.process.poll() is not None
    assert not left.exists(), "neither was waited for to its end"
    assert one.failed == "no answer in 0 minutes"
    assert not one.answers


def test_a_process_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "HERE", tmp_path)
    monkeypatch.setattr(networks.processes, "LONGEST_ANSWER", 3.0)
    script(tmp_path, "worker.py", "import time; print('{}', flush=True); time.sleep(12)")
    with networks.started("ours:sam-vit-b:float32", None, 1) as one:
        pass
    assert one.process is not None
    assert one.process.returncode not in (None, 0)


def test_an_error_costs_its_own_topics_and_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def breaks(options: Any) -> None:
        raise ValueError("nobody thought of this")

    row = {"title": "ours", "times": {"wall": {"median": 0.5}}}
    topics = {
        "encode": (breaks, None),
        "decode": (lambda options: {}, lambda found, earlier: found["rows"]),
        "memory": (lambda options: [], lambda found, earlier: {"unit": "MB", "rows": []}),
        "store": (lambda options: [], lambda found, earlier: {"unit": "MB", "rows": [row], "sizes": tmp_path}),
        "stall": (lambda options: [], lambda found, earlier: {"unit": "seconds", "rows": [row]}),
    }
    monkeypatch.setattr(run, "TOPICS", topics)
    with pytest.raises(SystemExit, match=r"because of an error: encode, decode, memory, store$"):
        run.main(["--json", str(tmp_path / "told.json")])
    told = json.loads((tmp_path / "told.json").read_text())["topics"]
    assert told["encode"]["skipped"] == "ValueError: nobody thought of this"
    assert told["decode"]["skipped"] == "KeyError: 'rows'"
    assert told["stall"]["rows"] == [row]
    said = capsys.readouterr()
    assert "== encode: not measured: ValueError: nobody thought of this" in said.out
    assert "in breaks" in said.err, "where it comes from is told too"


def test_peers_are_called_what_they_are() -> None:
    titles = {kind: networks.Worker(kind).title for kind in networks.STOCK}
    assert titles["litemedsam"] == "MobileSAM's code in LiteMedSAM's shape"
    assert titles["segment-anything"] == "segment-anything as shipped, as napari-sam and micro-sam run it"
    assert titles["mobile-sam"] == "MobileSAM's own code, as shipped"


def test_what_is_left_without_napari_is_called_as_its_script_calls_it() -> None:
    source = ast.parse((ROOT / "benchmarks" / "click_to_mask.py").read_text())
    values = [
        node.value for node in source.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PARTS"
    ]
    assert windows.WRITE["own"] == ast.literal_eval(values[0])["own"]
