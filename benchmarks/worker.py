"""One model in one process, told by another when to work: so that peers in other environments take turns with ours.

    python benchmarks/worker.py KIND THREADS        (ours:sam-vit-b:bfloat16, segment-anything, transformers-sam, ...)

It builds the model with random weights, says that it is ready, and waits. At each line of its input it encodes once
and decodes a box a few times, and answers with a line of JSON: seconds of the wall and of the processor of each, and
the peak of memory that encoding added, in MB. Nothing of napari-medsam is imported for a peer.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch

Model = tuple[Callable[[], Any], Callable[[Any], Any]]
"""Encode, and decode what was encoded."""

BOX = (0.2, 0.3, 0.7, 0.8)
"""Of the input, as x0, y0, x1, y1."""

DECODES = 5
"""After each encode: so many times is an encoded slice asked about."""


def pixels(size: int) -> np.ndarray[Any, Any]:
    """The same for all."""
    return np.random.default_rng(0).random((3, size, size), dtype=np.float32)


def ours(name: str, precision: str) -> Model:
    from napari_medsam.models import cost, registry
    from napari_medsam.models.compute import Compute, cpu_has_bfloat16
    from napari_medsam.models.frame import InputPrompts

    if precision == "bfloat16" and not cpu_has_bfloat16():
        raise SystemExit("this processor does not multiply bfloat16 itself, so float32 is what is used here")
    row = registry.row(name)
    config = cost.shape_of(row)
    network, size = cost.backend_module(row).network(config, Compute("cpu", precision)), cost.side_of(config)
    box = np.array(BOX, dtype=np.float32) * size
    prompts = InputPrompts(np.empty((0, 2), np.float32), np.empty(0, np.int64), box)
    image = pixels(size)
    return lambda: network.embed(image), lambda features: network.answer(features, prompts)


def chosen() -> str:
    """The precision that ours takes here by itself."""
    from napari_medsam.models.compute import Compute, precision_of

    return str(precision_of(Compute("cpu"), torch.device("cpu"))).removeprefix("torch.")


def as_sam(encoder: Any, prompt_encoder: Any, mask_decoder: Any, size: int) -> Model:
    """Modules of SAM's shape, put together as its authors do."""
    image, box = torch.from_numpy(pixels(size))[None], torch.tensor([BOX]) * size
    for module in (encoder, prompt_encoder, mask_decoder):
        module.eval()

    def decode(features: torch.Tensor) -> Any:
        sparse, dense = prompt_encoder(points=None, boxes=box, masks=None)
        return mask_decoder(
            image_embeddings=features,
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )

    return lambda: encoder(image), decode


def segment_anything() -> Model:
    from segment_anything import sam_model_registry

    model = sam_model_registry["vit_b"]()
    return as_sam(model.image_encoder, model.prompt_encoder, model.mask_decoder, 1024)


def mobile_sam() -> Model:
    from mobilesam_lite.mobile_sam import sam_model_registry  # type: ignore[import-not-found]

    model = sam_model_registry["vit_t"]()
    return as_sam(model.image_encoder, model.prompt_encoder, model.mask_decoder, 1024)


def litemedsam() -> Model:
    """Its own code is MobileSAM's for 256 pixels, but for a stem that keeps the resolution."""
    from mobilesam_lite.mobile_sam.modeling import (  # type: ignore[import-not-found]
        MaskDecoder,
        PromptEncoder,
        TwoWayTransformer,
    )
    from mobilesam_lite.mobile_sam.modeling import tiny_vit_sam as stock

    class Stem(stock.PatchEmbed):  # type: ignore[misc]
        def __init__(self, in_chans: int, embed_dim: int, resolution: int, activation: Any) -> None:
            super().__init__(in_chans, embed_dim, resolution, activation)
            self.patches_resolution, self.num_patches = (resolution, resolution), resolution**2
            first, last = stock.Conv2d_BN(in_chans, embed_dim // 2), stock.Conv2d_BN(embed_dim // 2, embed_dim)
            self.seq = torch.nn.Sequential(first, activation(), last)

    stock.PatchEmbed = Stem
    encoder = stock.TinyViT(
        img_size=256,
        embed_dims=[64, 128, 160, 320],
        depths=[2, 2, 6, 2],
        num_heads=[2, 4, 5, 10],
        window_sizes=[7, 7, 14, 7],
        drop_path_rate=0.0,
    )
    prompts = PromptEncoder(embed_dim=256, image_embedding_size=(64, 64), input_image_size=(256, 256), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    return as_sam(encoder, prompts, decoder, 256)


def of_transformers(model: Any) -> Model:
    model.eval()
    image, box = torch.from_numpy(pixels(1024))[None], torch.tensor([[BOX]]) * 1024
    return lambda: model.get_image_embeddings(image), lambda features: model(
        image_embeddings=features, input_boxes=box, multimask_output=False
    )


def transformers_sam() -> Model:
    from transformers import SamConfig, SamModel

    return of_transformers(SamModel(SamConfig()))


def transformers_sam2() -> Model:
    from transformers import Sam2Config, Sam2Model

    return of_transformers(Sam2Model(Sam2Config()))  # SAM 2.1 tiny is its default


PEERS: dict[str, Callable[[], Model]] = {
    "segment-anything": segment_anything,
    "transformers-sam": transformers_sam,
    "transformers-sam2": transformers_sam2,
    "mobile-sam": mobile_sam,
    "litemedsam": litemedsam,
}


def peak_mb() -> float:
    """The most memory that this process has held."""
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def fill_to_the_peak() -> None:
    """Touch as much memory as was ever held, so that whatever is added shows: building a model leaves room behind."""
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
    own = kind.startswith("ours:")
    encode, decode = ours(*kind.split(":")[1:]) if own else PEERS[kind]()
    fill_to_the_peak()
    before = peak_mb()
    print(json.dumps({"torch": torch.__version__, "chosen": chosen() if own else None}), flush=True)
    for _ in sys.stdin:
        with torch.inference_mode():
            spent, features = timed(encode)
            answer: dict[str, Any] = {"encode": [spent], "added_mb": peak_mb() - before}
            answer["decode"] = [timed(partial(decode, features))[0] for _ in range(DECODES)]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
