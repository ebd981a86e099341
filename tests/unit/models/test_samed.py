"""SAMed: from a slice to labels in their places, and from its files to the network's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segment_anything")

from napari_medsam.errors import CheckpointError  # noqa: E402
from napari_medsam.models import registry  # noqa: E402
from napari_medsam.models.lora import Tensors  # noqa: E402
from napari_medsam.models.sam_encoder import EncoderConfig, image_encoder  # noqa: E402
from napari_medsam.models.sam_network import sam_heads  # noqa: E402
from napari_medsam.models.samed import Samed, SamedConfig  # noqa: E402
from napari_medsam.models.samed_weights import merged  # noqa: E402

SMALL = EncoderConfig(width=12, depth=3, heads=2, global_blocks=(1,), size=128, out=32, window=3)
RANK = 4
TRANSFORMER = "mask_decoder.transformer."


class Echo:
    """A network that answers with a class for each range of what it sees; it keeps what it saw."""

    def embed(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.seen = image
        return {"image": image}

    def everything(self, features: Any, prompts: Any) -> tuple[np.ndarray, np.ndarray]:
        coarse = features["image"][0][::4, ::4]
        classes = (coarse > 0.3).astype(int) + 4 * (coarse > 0.7)
        return np.stack([(classes == value) * 10.0 for value in range(9)]).astype(np.float32), np.zeros(9)


def slice_of_ct() -> np.ndarray:
    """(90, 120) HU: an L at 60 HU, with a bright spot at its foot, on the right."""
    values = np.full((90, 120), -1000, dtype=np.int16)
    values[10:50, 12:30] = 60
    values[38:50, 12:80] = 60
    values[38:50, 68:80] = 240
    return values


def test_labels_lie_on_what_was_seen_though_it_was_seen_mirrored() -> None:
    network = Echo()
    row = registry.row("samed-b")
    found = Samed(row.spec("echo"), row.classes, network).label(slice_of_ct())  # type: ignore[arg-type]
    assert found[20, 20] == 1
    assert found[44, 74] == 5
    assert found[44, 74 - 60] == 1
    assert found[20, 70] == 0
    wrong = (found > 0) != (slice_of_ct() > 0)
    assert wrong.sum() < 0.15 * (slice_of_ct() > 0).sum()
    spot = np.nonzero(network.seen[0] > 0.8)
    assert spot[1].mean() < 256, "the patient's left is on the left of what SAMed sees"
    assert spot[0].mean() == pytest.approx(44 / 90 * 512, abs=6)


# -- weights ---------------------------------------------------------------------------------------------------------


def numbered(shape: tuple[int, ...], seed: int) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def base_of(config: EncoderConfig) -> dict[str, Any]:
    """Weights of a SAM at twice the input size."""
    big = replace(config, size=2 * config.size)
    parts = {"image_encoder": image_encoder(big), **sam_heads(big.size, big.grid, 3, big.out)._asdict()}
    shapes = {f"{part}.{name}": v.shape for part, module in parts.items() for name, v in module.state_dict().items()}
    return {name: numbered(tuple(shape), i) for i, (name, shape) in enumerate(shapes.items())}


def heads_with(classes: int) -> dict[str, Any]:
    heads = sam_heads(SMALL.size, SMALL.grid, classes, SMALL.out)._asdict()
    shapes = {f"{part}.{name}": v.shape for part, module in heads.items() for name, v in module.state_dict().items()}
    return {name: numbered(tuple(shape), 900 + i) for i, (name, shape) in enumerate(shapes.items())}


def encoder_changes(rank: int = RANK) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for i in range(2 * SMALL.depth):
        out[f"w_a_{i:03d}"] = numbered((rank, SMALL.width), 2000 + i)
        out[f"w_b_{i:03d}"] = numbered((SMALL.width, rank), 3000 + i)
    return out


def decoder_changes() -> dict[str, Any]:
    out: dict[str, Any] = {}
    for short, inner in (("sa", SMALL.out), ("cti", SMALL.out // 2), ("cit", SMALL.out // 2)):
        for i in range(4):
            out[f"{short}_a_{i:03d}"] = numbered((RANK, SMALL.out), 4000 + i)
            out[f"{short}_b_{i:03d}"] = numbered((inner, RANK), 5000 + i)
    for projection in "qv":
        out[f"fati_{projection}a"] = numbered((RANK, SMALL.out), 6000)
        out[f"fati_{projection}b"] = numbered((SMALL.out // 2, RANK), 6001)
    return out


def file_b() -> dict[str, Any]:
    return {**encoder_changes(), **heads_with(8)}


def file_s() -> dict[str, Any]:
    heads = {name: v for name, v in heads_with(8).items() if TRANSFORMER not in name}
    return {**encoder_changes(), **decoder_changes(), **heads}


def of(tensors: dict[str, Any], name: str = "changes.pth") -> Tensors:
    return Tensors(tensors, Path(name), f"a {name}")


@pytest.mark.parametrize("file", [file_b, file_s], ids=["b", "s"])
def test_merged_weights_fill_the_network_strictly(file: Callable[[], dict[str, Any]]) -> None:
    encoder, heads = merged(SMALL, of(file()), of(base_of(SMALL), "base.pth"))
    image_encoder(SMALL).load_state_dict(encoder)
    config = SamedConfig(SMALL, 8)
    torch.nn.ModuleDict(sam_heads(SMALL.size, SMALL.grid, config.classes, SMALL.out)._asdict()).load_state_dict(heads)


def test_a_changed_block_answers_as_the_original_sum_does() -> None:
    """The original computes qkv(x), then adds B A x to the queries and to the values."""
    base, changes = base_of(SMALL), encoder_changes()
    encoder, _ = merged(SMALL, of({**changes, **heads_with(8)}), of(base))
    x = numbered((5, SMALL.width), 77)
    for block in range(SMALL.depth):
        qkv = x @ base[f"image_encoder.blocks.{block}.attn.qkv.weight"].T
        query, key, value = qkv.split(SMALL.width, dim=1)
        first, second = 2 * block, 2 * block + 1
        query = query + (x @ changes[f"w_a_{first:03d}"].T) @ changes[f"w_b_{first:03d}"].T
        value = value + (x @ changes[f"w_a_{second:03d}"].T) @ changes[f"w_b_{second:03d}"].T
        found = x @ encoder[f"blocks.{block}.attn.qkv.weight"].T
        torch.testing.assert_close(found, torch.cat([query, key, value], dim=1), rtol=1e-4, atol=1e-4)


def test_the_decoder_of_samed_s_is_that_of_the_base_with_its_changes() -> None:
    base, changes = base_of(SMALL), decoder_changes()
    _, heads = merged(SMALL, of(file_s()), of(base))
    x = numbered((5, SMALL.out), 78)
    for name, number, a, b in (
        ("layers.1.cross_attn_image_to_token.v_proj", 3, "cit_a_003", "cit_b_003"),
        ("layers.0.self_attn.q_proj", 0, "sa_a_000", "sa_b_000"),
        ("layers.1.cross_attn_token_to_image.q_proj", 2, "cti_a_002", "cti_b_002"),
        ("final_attn_token_to_image.v_proj", 0, "fati_va", "fati_vb"),
    ):
        weight = f"{TRANSFORMER}{name}.weight"
        want = x @ base[weight].T + (x @ changes[a].T) @ changes[b].T
        torch.testing.assert_close(x @ heads[weight].T, want, rtol=1e-4, atol=1e-4, msg=f"{name} {number}")
    same = f"{TRANSFORMER}layers.1.cross_attn_image_to_token.k_proj.weight"
    assert heads[same] is base[same]


def test_the_decoder_of_samed_b_comes_from_its_own_file() -> None:
    file = file_b()
    _, heads = merged(SMALL, of(file), of(base_of(SMALL)))
    assert heads == {name: v for name, v in file.items() if not name.startswith("w_")}


def test_positions_are_halved_and_those_of_windows_are_kept() -> None:
    base = base_of(SMALL)
    encoder, _ = merged(SMALL, of(file_b()), of(base))
    places = base["image_encoder.pos_embed"]
    # halving bilinearly without aligned corners is the mean of two neighbours
    want = (places[:, ::2, ::2] + places[:, 1::2, ::2] + places[:, ::2, 1::2] + places[:, 1::2, 1::2]) / 4
    torch.testing.assert_close(encoder["pos_embed"], want)
    assert encoder["blocks.1.attn.rel_pos_h"].shape == (2 * SMALL.grid - 1, SMALL.width // SMALL.heads)
    assert encoder["blocks.0.attn.rel_pos_h"] is base["image_encoder.blocks.0.attn.rel_pos_h"]


def test_neither_file_is_changed() -> None:
    base, changes = base_of(SMALL), file_s()
    before = {name: v.clone() for name, v in (base | changes).items()}
    merged(SMALL, of(changes), of(base))
    for name, v in (base | changes).items():
        assert torch.equal(v, before[name]), name


def test_half_precision_files_are_summed_in_float32() -> None:
    halves = {name: v.half() for name, v in file_b().items()}
    encoder, _ = merged(SMALL, of(halves), of({name: v.half() for name, v in base_of(SMALL).items()}))
    assert encoder["blocks.0.attn.qkv.weight"].dtype == encoder["pos_embed"].dtype == torch.float32


def edited(tensors: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
    """With some tensors of other shapes, and without those of no shape."""
    new = {name: torch.zeros(shape) for name, shape in shapes.items() if shape is not None}
    return {name: v for name, v in (tensors | new).items() if shapes.get(name, ()) is not None}


@pytest.mark.parametrize(
    ("changes", "base", "named"),
    [
        ({"w_b_003": None}, {}, "w_b_003"),
        ({"w_b_003": (SMALL.width, 3)}, {}, "w_b_003"),
        ({"w_a_002": (RANK, 11)}, {}, "w_a_002"),
        ({"w_a_002": (RANK,)}, {}, "w_a_002"),
        ({"w_a_006": (RANK, SMALL.width)}, {}, "w_a_006"),
        ({"cti_a_001": None}, {}, "cti_a_001"),
        ({}, {"image_encoder.pos_embed": None}, "pos_embed"),
        ({}, {"image_encoder.blocks.1.attn.rel_pos_w": None}, "rel_pos_w"),
        ({}, {"image_encoder.blocks.2.attn.qkv.weight": None}, "qkv"),
        ({}, {f"{TRANSFORMER}layers.0.self_attn.v_proj.weight": None}, "v_proj"),
    ],
    ids=str,
)
def test_files_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], base: dict[str, Any], named: str) -> None:
    with pytest.raises(CheckpointError, match=named) as caught:
        merged(SMALL, of(edited(file_s(), changes)), of(edited(base_of(SMALL), base), "base.pth"))
    assert ("base.pth" if base else "changes.pth") in str(caught.value)
