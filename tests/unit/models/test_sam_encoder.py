"""SAM's encoder with our attention gives what the package's gives; lower precision stays where it may."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("segment_anything")

from segment_anything.modeling import ImageEncoderViT  # noqa: E402
from torch import nn  # noqa: E402

from napari_medsam.models import sam_encoder  # noqa: E402
from napari_medsam.models.precision import full, lower, products_in  # noqa: E402
from napari_medsam.models.sam_encoder import EncoderConfig, between, image_encoder, layer_norm  # noqa: E402

SMALL = EncoderConfig(width=24, depth=3, heads=3, global_blocks=(1,), size=48, window=2, patch=8, out=16)
"""A grid of 6 in windows of 2; one block sees all."""

PADDED = EncoderConfig(width=24, depth=3, heads=3, global_blocks=(1,), size=48, window=4, patch=8, out=16)
"""Windows of 4 do not fill a grid of 6."""

CPU = torch.device("cpu")


def random_weights(module: nn.Module) -> None:
    """Also where a fresh module has zeros: positions, and relative positions."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for values in module.parameters():
            values.copy_(torch.randn(values.shape, generator=random) * 0.5)


def stock(config: EncoderConfig) -> Any:
    return ImageEncoderViT(
        img_size=config.size,
        patch_size=config.patch,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        out_chans=config.out,
        norm_layer=layer_norm,
        use_rel_pos=True,
        window_size=config.window,
        global_attn_indexes=config.global_blocks,
    )


@pytest.mark.parametrize(
    "elements", [1, 2 * 3 * 36 * 7, 10**9], ids=["a query at a time", "some at a time", "all at once"]
)
@pytest.mark.parametrize("config", [SMALL, PADDED], ids=["windows that fit", "windows that do not"])
def test_the_encoder_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, config: EncoderConfig, elements: int
) -> None:
    monkeypatch.setattr(sam_encoder, "BIAS_ELEMENTS", elements)
    theirs, ours = stock(config), image_encoder(config)
    random_weights(theirs)
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn((2, 3, config.size, config.size), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)


def test_relative_positions_count() -> None:
    """Else the test above would pass without them."""
    ours = image_encoder(SMALL)
    random_weights(ours)
    image = torch.ones((1, 3, SMALL.size, SMALL.size))
    with torch.inference_mode():
        before = ours(image)
        for block in ours.blocks:
            block.attn.rel_pos_h.zero_()
        assert (ours(image) - before).abs().max() > 0.01


def test_pairs_of_places_find_their_distance() -> None:
    table = torch.arange(7)[:, None] - 3  # of an axis of 4: distances from -3 to 3
    found = between(4, table)[..., 0]
    for at in range(4):
        for other in range(4):
            assert found[at, other] == at - other


def test_only_products_are_stored_in_less() -> None:
    encoder = image_encoder(SMALL)
    lower(encoder, torch.bfloat16)
    less = {name for name, values in encoder.state_dict().items() if values.dtype == torch.bfloat16}
    layers = ("attn.qkv", "mlp.lin1", "mlp.lin2")
    assert less == {
        f"blocks.{block}.{layer}.{kind}" for block in range(3) for layer in layers for kind in ("weight", "bias")
    }


def test_lower_precision_is_near() -> None:
    encoder = image_encoder(SMALL).eval()
    random_weights(encoder)
    image = torch.randn((1, 3, SMALL.size, SMALL.size), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        exact = encoder(image)
        lower(encoder, torch.bfloat16)
        with products_in(torch.bfloat16, CPU):
            found = encoder(image)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).abs().max() < 0.05 * exact.abs().max()


def test_full_precision_within_lower() -> None:
    values = torch.full((2, 2), 1 + 2**-12)
    with products_in(torch.bfloat16, CPU):
        assert (values @ values).dtype == torch.bfloat16
        with full(CPU):
            assert (values @ values).dtype == torch.float32
    with products_in(torch.float32, CPU):
        assert (values @ values).dtype == torch.float32
