"""One model in one process, told by another when to work: so that peers in other environments take turns with ours.

    python benchmarks/worker.py KIND        (ours:sam-vit-b:bfloat16, segment-anything, transformers-sam, ...)

It builds the model with random weights and waits. At each line of its input it encodes (and, where there is one,
decodes) once, and answers with a line of JSON: seconds of the wall and of the processor, and the peak of memory that
encoding added, in MB. Nothing of napari-medsam is imported for a peer.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

Model = tuple[Callable[[], Any], Callable[[Any], Any] | None]
"""Encode, and decode what was encoded."""

BOX = (0.2, 0.3, 0.7, 0.8)
"""Of the input, as x0, y0, x1, y1."""


def pixels(size: int) -> np.ndarray[Any, Any]:
    """The same for all."""
    return np.random.default_rng(0).random((3, size, size), dtype=np.float32)


def ours(name: str, precision: str) -> Model:
    from napari_medsam.models import cost, registry
    from napari_medsam.models.compute import Compute
    from napari_medsam.models.frame import InputPrompts

    row = registry.row(name)
    config = cost.shape_of(row)
    network, size = cost.backend_module(row).network(config, Compute("cpu", precision)), cost.side_of(config)
    box = np.array(BOX, dtype=np.float32) * size
    prompts = InputPrompts(np.empty((0, 2), np.float32), np.empty(0, np.int64), box)
    image = pixels(size)
    return lambda: network.embed(image), lambda features: network.answer(features, prompts)


def segment_anything() -> Model:
    from segment_anything import sam_model_registry

    model = sam_model_registry["vit_b"]().eval()
    image = torch.from_numpy(pixels(1024))[None]
    box = torch.tensor([BOX]) * 1024

    def decode(features: torch.Tensor) -> Any:
        sparse, dense = model.prompt_encoder(points=None, boxes=box, masks=None)
        return model.mask_decoder(
            image_embeddings=features,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )

    return lambda: model.image_encoder(image), decode


def transformers_sam() -> Model:
    from transformers import SamConfig, SamModel

    model: Any = SamModel(SamConfig()).eval()
    image = torch.from_numpy(pixels(1024))[None]
    box = torch.tensor([[BOX]]) * 1024
    return lambda: model.get_image_embeddings(image), lambda features: model(
        image_embeddings=features, input_boxes=box, multimask_output=False
    )


def transformers_sam2() -> Model:
    from transformers import Sam2Config, Sam2Model

    model: Any = Sam2Model(Sam2Config()).eval()  # SAM 2.1 tiny is its default
    image = torch.from_numpy(pixels(1024))[None]
    box = torch.tensor([[BOX]]) * 1024
    return lambda: model.get_image_embeddings(image), lambda features: model(
        image_embeddings=features, input_boxes=box, multimask_output=False
    )


def tiny_vit(size: int, *, single_pixels: bool) -> Model:
    """MobileSAM's own code; LiteMedSAM's is the same but for a stem that keeps the resolution."""
    from mobile_sam.modeling import tiny_vit_sam as stock

    class Stem(stock.PatchEmbed):  # type: ignore[misc]
        def __init__(self, in_chans: int, embed_dim: int, resolution: int, activation: Any) -> None:
            super().__init__(in_chans, embed_dim, resolution, activation)
            self.patches_resolution, self.num_patches = (resolution, resolution), resolution**2
            first, last = stock.Conv2d_BN(in_chans, embed_dim // 2), stock.Conv2d_BN(embed_dim // 2, embed_dim)
            self.seq = torch.nn.Sequential(first, activation(), last)

    if single_pixels:
        stock.PatchEmbed = Stem
    model = stock.TinyViT(
        img_size=size,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    ).eval()
    image = torch.from_numpy(pixels(size))[None]
    return lambda: model(image), None


PEERS: dict[str, Callable[[], Model]] = {
    "segment-anything": segment_anything,
    "transformers-sam": transformers_sam,
    "transformers-sam2": transformers_sam2,
    "mobile-sam": lambda: tiny_vit(1024, single_pixels=False),
    "litemedsam": lambda: tiny_vit(256, single_pixels=True),
}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def fill_to_the_peak() -> None:
    """Touch as much memory as was ever held, so that whatever is added shows: building a model leaves room behind."""
    import psutil

    room = int(peak_mb() * 1e6) - psutil.Process().memory_info().rss
    if room > 1 << 20:
        HELD.append(np.ones(room, dtype=np.uint8))


HELD: list[Any] = []


def timed(act: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    wall, own = time.perf_counter(), time.process_time()
    found = act()
    return (time.perf_counter() - wall, time.process_time() - own), found


def main() -> None:
    warnings.simplefilter("ignore")
    kind, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    encode, decode = ours(*kind.split(":")[1:]) if kind.startswith("ours:") else PEERS[kind]()
    fill_to_the_peak()
    before = peak_mb()
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        with torch.inference_mode():
            spent, features = timed(encode)
            answer: dict[str, Any] = {"encode": spent, "added_mb": peak_mb() - before}
            if decode is not None:
                answer["decode"] = timed(partial(decode, features))[0]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
