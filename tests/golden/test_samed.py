"""SAMed against what the original answered with stand-in weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("segment_anything")

from tests.far import REAL_GPU  # noqa: E402

from napari_medsam.models import registry  # noqa: E402
from napari_medsam.models.compute import Compute  # noqa: E402
from napari_medsam.models.lora import Tensors  # noqa: E402
from napari_medsam.models.sam_encoder import image_encoder  # noqa: E402
from napari_medsam.models.sam_network import sam_heads  # noqa: E402
from napari_medsam.models.samed import ENCODERS, UNPROMPTED, Samed, make, winners  # noqa: E402
from napari_medsam.models.samed_view import SIZE, network_input  # noqa: E402
from napari_medsam.models.samed_weights import merged  # noqa: E402
from napari_medsam.models.sources import Sources  # noqa: E402

from .originals import LIMIT, Originals  # noqa: E402

GPU = [pytest.mark.gpu, REAL_GPU]
FLOAT32 = [("cpu", "float32"), pytest.param(("cuda", "float32"), marks=GPU)]
REDUCED = [
    ("cpu", "bfloat16"),
    pytest.param("cuda", "bfloat16", marks=pytest.mark.gpu),
    pytest.param("cuda", "float16", marks=GPU),
]
LOW_PRECISION = 1e-2
PREPROCESSING = 1e-4


@pytest.fixture(scope="module")
def originals(shared: Path) -> Originals:
    return Originals(shared)


@pytest.fixture(scope="module")
def files(originals: Originals, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """SAMed's file and that of its base, with stand-in weights, as a user would have them."""
    folder = tmp_path_factory.mktemp("weights")
    paths = folder / "epoch_159.pth", folder / "sam_vit_b_01ec64.pth"
    for path, keys in zip(paths, ("samed_b_lora", "sam_vit_b"), strict=True):
        torch.save(originals.weights(keys), path)
    yield paths
    for path in paths:
        path.unlink()


def model(files: tuple[Path, Path], device: str, precision: str) -> Samed:
    changes, base = files
    return make(Sources(registry.row("samed-b"), changes, "golden", base, Compute(device, precision)))


def answers(samed: Samed, image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """The parts of an answer as the original calls them, each with the batch axis that it has there."""
    features = samed.network.embed(image)
    logits, scores = samed.network.everything(features, UNPROMPTED)
    masks = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], (SIZE, SIZE), mode="bilinear").numpy()
    classes = winners(logits)[None, None]
    found = {"embed": features["image"], "low_res_logits": logits[None], "masks": masks}
    return {**found, "iou": scores[None], "argmax": classes}


@pytest.fixture(scope="module", params=FLOAT32, ids=str)
def ours(request: pytest.FixtureRequest, originals: Originals, files: tuple[Path, Path]) -> dict[str, NDArray[Any]]:
    return answers(model(files, *request.param), originals.fill.image(SIZE)[0])


@pytest.mark.parametrize("part", ["embed", "low_res_logits", "masks", "iou"])
def test_every_part_of_the_answer(originals: Originals, ours: dict[str, NDArray[Any]], part: str) -> None:
    assert originals.difference(ours[part], originals.outputs("samed_b")[part]) <= LIMIT


def test_the_class_of_every_pixel(originals: Originals, ours: dict[str, NDArray[Any]]) -> None:
    theirs = originals.outputs("samed_b")["argmax"]
    assert len(np.unique(theirs)) > 3
    np.testing.assert_array_equal(originals.fill.thin(ours["argmax"]), theirs)


@pytest.mark.parametrize(("device", "precision"), REDUCED)
def test_masks_in_lower_precision(originals: Originals, files: tuple[Path, Path], device: str, precision: str) -> None:
    found = answers(model(files, device, precision), originals.fill.image(SIZE)[0])
    theirs = originals.outputs("samed_b")
    assert originals.difference(found["masks"], theirs["masks"]) <= LOW_PRECISION
    assert np.mean(originals.fill.thin(found["argmax"]) != theirs["argmax"]) < LOW_PRECISION


def test_the_network_sees_a_slice_as_the_original_does(originals: Originals, shared: Path) -> None:
    """The original was given slice 15 of this volume in the order of its file."""
    path = shared / "data" / "volumes" / "torso_ct_crop.nii.gz"
    if not path.exists():
        pytest.skip(f"no volume at {path}")
    seen = network_input(np.asarray(nib.load(path).dataobj)[:, :, 15])
    recorded = originals.outputs("preprocess")
    assert np.abs(originals.fill.thin(seen[:1]) - recorded["ct|samed"]).max() <= PREPROCESSING
    stat = [seen.mean(), seen.std(), seen.min(), seen.max(), *seen.shape[1:]]
    np.testing.assert_allclose(stat, recorded["ct|samed|stat"], atol=PREPROCESSING)


# -- names and shapes, without numbers -------------------------------------------------------------------------------


def listed(shared: Path, keys: str) -> dict[str, Any]:
    """The tensors of a list of keys, without numbers."""
    path = shared / "keys" / f"{keys}.txt"
    if not path.exists():
        pytest.skip(f"no list of keys at {path}")
    lines = [line.rstrip("\n").split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    shapes = {name: [int(n) for n in shape.strip("[]").split(",") if n.strip()] for name, shape, *_ in lines}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def decoder_changes() -> dict[str, Any]:
    """The low-rank changes of SAMed_s, of which there is no list: rank 4, as in its `save_lora_parameters`."""
    inner = {"sa": 256, "cti": 128, "cit": 128}
    shapes = {f"{short}_a_{i:03d}": (4, 256) for short in inner for i in range(4)}
    shapes |= {f"{short}_b_{i:03d}": (out, 4) for short, out in inner.items() for i in range(4)}
    for projection in "qv":
        shapes |= {f"fati_{projection}a": (4, 256), f"fati_{projection}b": (128, 4)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def of_samed_s(samed_b: dict[str, Any]) -> dict[str, Any]:
    kept = {name: v for name, v in samed_b.items() if not name.startswith("mask_decoder.transformer.")}
    return {**kept, **decoder_changes()}


@pytest.mark.parametrize("layout", ["samed-b", "samed-s", "samed-h"])
def test_files_fit_the_network_that_the_original_runs(shared: Path, layout: str) -> None:
    size = "h" if layout == "samed-h" else "b"
    file = listed(shared, f"samed_{size}_lora")
    if layout == "samed-s":
        file = of_samed_s(file)
        assert len(file) == 161, "as MODELS.md counts them"
    config = ENCODERS[layout]
    encoder, heads = merged(
        config,
        Tensors(file, Path("changes.pth"), "changes"),
        Tensors(listed(shared, f"sam_vit_{size}"), Path("base.pth"), "base"),
    )
    found = {
        **{f"image_encoder.{name}": v.shape for name, v in encoder.items()},
        **{n: v.shape for n, v in heads.items()},
    }
    running = listed(shared, f"samed_{size}_runtime")
    theirs = {name.replace(".qkv.qkv.", ".qkv."): v.shape for name, v in running.items() if ".qkv.linear_" not in name}
    assert found == theirs

    with torch.device("meta"):
        image_encoder(config).load_state_dict(encoder)
        torch.nn.ModuleDict(sam_heads(SIZE, config.grid, 8)._asdict()).load_state_dict(heads)
