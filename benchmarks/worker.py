"""One model in one process, told by another when to work: so that peers in other environments take turns with ours.

    python benchmarks/worker.py KIND THREADS [DEVICE]    (ours:sam-vit-b:bfloat16, segment-anything, ...)

It builds the model with random weights on the device (cpu, cuda or cuda:N), says that it is ready, and waits. At each
line of its input it encodes once and decodes a box a few times, and answers with a line of JSON: seconds of the wall
and of the processor of each, and the peak of memory of the device that encoding added, in MB. Where the device gains
from batches, ours encodes one too; its seconds are for one input of it. An input begins in the computer's memory and
an answer ends there. Nothing of napari-medsam is imported for a peer.
"""

from __future__ import annotations

import copy
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch


@dataclass(frozen=True)
class Model:
    """What a worker measures.

    Parameters
    ----------
    encode, decode : callable
        Encode; decode what was encoded.
    batch : callable
        How many inputs the device gains from at a time.
    encode_batch : callable, optional
        Encode so many.
    flops : float
        Of an encode as its authors wrote it; 0 where that is not known.
    """

    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    batch: Callable[[], int] = lambda: 1
    encode_batch: Callable[[int], Any] | None = None
    flops: float = 0.0


BOX = (0.2, 0.3, 0.7, 0.8)
"""Of the input, as x0, y0, x1, y1."""

DECODES = 5
"""After each encode: so many times is an encoded slice asked about."""

ENCODES, BATCHES = 10, 3
"""On a GPU in each turn: so many encodes of one input, and of several at once."""


def pixels(size: int) -> np.ndarray[Any, Any]:
    """The same for all."""
    return np.random.default_rng(0).random((3, size, size), dtype=np.float32)


def ours(name: str, precision: str, device: str) -> Model:
    from napari_medsam.models import cost, registry
    from napari_medsam.models.compute import Compute
    from napari_medsam.models.frame import InputPrompts

    if precision == "bfloat16" and not has_bfloat16(device):
        raise SystemExit("this hardware does not multiply bfloat16 itself, so another precision is used here")
    row = registry.row(name)
    config = cost.shape_of(row)
    network, size = cost.backend_module(row).network(config, Compute(device, precision)), cost.side_of(config)
    box = np.array(BOX, dtype=np.float32) * size
    prompts = InputPrompts(np.empty((0, 2), np.float32), np.empty(0, np.int64), box)
    image = pixels(size)
    return Model(
        lambda: network.embed(image),
        lambda features: network.answer(features, prompts),
        lambda: network.batch,
        lambda count: network.embed_batch([image] * count),
    )


def has_bfloat16(device: str) -> bool:
    from napari_medsam.models.compute import cpu_has_bfloat16

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_has_bfloat16()


def chosen(device: str) -> str:
    """The precision that ours takes there by itself."""
    from napari_medsam.models.compute import Compute, device_of, precision_of

    compute = Compute(device)
    return str(precision_of(compute, device_of(compute))).removeprefix("torch.")


def as_sam(encoder: Any, prompt_encoder: Any, mask_decoder: Any, size: int, device: str) -> Model:
    """Modules of SAM's shape, put together as its authors do."""
    image, box = torch.from_numpy(pixels(size))[None], (torch.tensor([BOX]) * size).to(device)
    flops = flops_of(encoder, image)
    for module in (encoder, prompt_encoder, mask_decoder):
        module.eval().to(device)

    def decode(features: torch.Tensor) -> Any:
        sparse, dense = prompt_encoder(points=None, boxes=box, masks=None)
        found = mask_decoder(
            image_embeddings=features,
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return [one.cpu() for one in found]

    return Model(lambda: encoder(image.to(device)), decode, flops=flops)


def flops_of(module: Any, image: torch.Tensor) -> float:
    """Of the products of a call; 0 where they cannot be counted without computing it."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        hollow = copy.deepcopy(module).to("meta").eval()
        with torch.no_grad(), torch.device("meta"), counter:
            hollow(image.to("meta"))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return 0.0
    return float(counter.get_total_flops())


def products_per_second(precision: str, device: str) -> float:
    """The FLOP/s of one large product of matrices, which ours computes them by: the most that it could reach."""
    from napari_medsam.models.products import Product

    side = 8192 if device.startswith("cuda") else 2048
    dtype = getattr(torch, precision)
    layer = Product(torch.nn.Linear(side, side, bias=False)).to(device, dtype)
    values = torch.randn(side, side).to(device, dtype)
    best = min(timed(lambda: layer(values), device)[0][0] for _ in range(20))
    return float(2 * side**3 / best)


def segment_anything(device: str) -> Model:
    from segment_anything import sam_model_registry

    model = sam_model_registry["vit_b"]()
    return as_sam(model.image_encoder, model.prompt_encoder, model.mask_decoder, 1024, device)


def mobile_sam(device: str) -> Model:
    from mobilesam_lite.mobile_sam import sam_model_registry  # type: ignore[import-not-found]

    model = sam_model_registry["vit_t"]()
    return as_sam(model.image_encoder, model.prompt_encoder, model.mask_decoder, 1024, device)


def litemedsam(device: str) -> Model:
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
    return as_sam(encoder, prompts, decoder, 256, device)


def of_transformers(model: Any, device: str) -> Model:
    model.eval().to(device)
    image, box = torch.from_numpy(pixels(1024))[None], (torch.tensor([[BOX]]) * 1024).to(device)

    def decode(features: Any) -> Any:
        found = model(image_embeddings=features, input_boxes=box, multimask_output=False)
        return found.pred_masks.cpu(), found.iou_scores.cpu()

    return Model(lambda: model.get_image_embeddings(image.to(device)), decode)


def transformers_sam(device: str) -> Model:
    from transformers import SamConfig, SamModel

    return of_transformers(SamModel(SamConfig()), device)


def transformers_sam2(device: str) -> Model:
    from transformers import Sam2Config, Sam2Model

    return of_transformers(Sam2Model(Sam2Config()), device)  # SAM 2.1 tiny is its default


PEERS: dict[str, Callable[[str], Model]] = {
    "segment-anything": segment_anything,
    "transformers-sam": transformers_sam,
    "transformers-sam2": transformers_sam2,
    "mobile-sam": mobile_sam,
    "litemedsam": litemedsam,
}


def peak_mb(device: str) -> float:
    """The most memory of a device that this process has held; on a GPU since `mark_memory`."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        return float(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def mark_memory(device: str, before: float) -> float:
    """From where what an encode adds is counted: on a GPU from now on, else from `before`, as no peak is forgotten."""
    if not device.startswith("cuda"):
        return before
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device) / 1e6


def give_back(device: str) -> None:
    """Leave the memory of a GPU that is not in use to those whose turn comes."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def fill_to_the_peak() -> None:
    """Touch as much memory as was ever held, so that whatever is added shows: building a model leaves room behind."""
    room = int(peak_mb("cpu") * 1e6) - psutil.Process().memory_info().rss
    if room > 1 << 20:
        HELD.append(np.ones(room, dtype=np.uint8))


HELD: list[Any] = []


def timed(act: Callable[[], Any], device: str) -> tuple[tuple[float, float], Any]:
    """Seconds of the wall and of the processor until all that the device was told is done, and what was found."""
    wall, own = time.perf_counter(), time.process_time()
    found = act()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return (time.perf_counter() - wall, time.process_time() - own), found


def once(model: Model, device: str, before: float, batch: int = 0) -> dict[str, Any]:
    """An answer: encodes, decodes, and batches where the device gains from them.

    A GPU that has waited for its turn is slow at first, so there the first encode and the first batch are not told.
    """
    before = mark_memory(device, before)
    first, features = timed(model.encode, device)
    answer: dict[str, Any] = {"added_mb": peak_mb(device) - before}
    again = ENCODES if device.startswith("cuda") else 0
    answer["encode"] = [timed(model.encode, device)[0] for _ in range(again)] or [first]
    answer["decode"] = [timed(partial(model.decode, features), device)[0] for _ in range(DECODES)]
    count = batch or model.batch()
    if count > 1 and model.encode_batch is not None:
        spents = [timed(partial(model.encode_batch, count), device)[0] for _ in range(1 + BATCHES)][1:]
        answer |= {"batch": count, "in batches": [tuple(one / count for one in spent) for spent in spents]}
    give_back(device)
    return answer


def main() -> None:
    warnings.simplefilter("ignore")
    kind, threads, device = sys.argv[1], int(sys.argv[2]), (*sys.argv, "cpu")[3]
    torch.set_num_threads(threads)
    ready: dict[str, Any] = {"torch": torch.__version__}
    limit: Callable[[], float] | None = None
    with torch.inference_mode():
        if kind.startswith("ours:"):
            _, name, precision = kind.split(":")
            model = ours(name, precision, device)
            ready |= {"chosen": chosen(device)}
            limit = partial(products_per_second, precision, device)
        else:
            model = PEERS[kind](device)
            ready |= {"flops": model.flops}
        fill_to_the_peak()
        before, batch = peak_mb("cpu"), 0
        print(json.dumps(ready), flush=True)
        for _ in sys.stdin:
            answer = once(model, device, before, batch)
            batch = answer.get("batch", 0)  # what is free changes with what others hold
            if limit is not None:  # not before the first, whose memory it would hide
                answer["flops_per_s"] = limit()
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
