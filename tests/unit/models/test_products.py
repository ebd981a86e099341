"""oneDNN and strips give what torch's own layers give; attention by channels what a bias gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from tests.far import far_device  # noqa: E402
from timm.models import tiny_vit as stock  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from napari_medsam.models import channel_attention, products, striped  # noqa: E402
from napari_medsam.models.channel_attention import by_channels, by_kernel, way_for  # noqa: E402
from napari_medsam.models.compute import cpu_has_bfloat16  # noqa: E402
from napari_medsam.models.products import Convolution, Product, is_gelu, make_products  # noqa: E402
from napari_medsam.models.sam_encoder import by_bias  # noqa: E402
from napari_medsam.models.striped import StripedBlock  # noqa: E402
from napari_medsam.models.tiny_vit import fold  # noqa: E402


@pytest.fixture(params=["fused", "torch's own"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways, wherever the tests run."""
    if request.param == "fused" and torch.float32 not in products._types():
        pytest.skip("oneDNN is not in this torch")
    if request.param != "fused":
        monkeypatch.setattr(products, "_types", lambda: ())
    return str(request.param)


def randomly(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_the_linear_layer(way: str, gelu: bool, bias: bool) -> None:
    linear = nn.Linear(6, 4, bias=bias)
    values = randomly(2, 3, 5, 6).transpose(1, 2)  # not contiguous
    with torch.inference_mode():
        wanted = functional.gelu(linear(values)) if gelu else linear(values)
        torch.testing.assert_close(Product(linear, gelu=gelu)(values), wanted)


@pytest.mark.parametrize("gelu", [False, True])
def test_a_product_of_convolution_is_the_convolution(way: str, gelu: bool) -> None:
    convolution = nn.Conv2d(4, 8, (3, 1), stride=(2, 1), padding=(1, 0), groups=2)
    maps = randomly(2, 4, 7, 5)
    with torch.inference_mode():
        wanted = functional.gelu(convolution(maps)) if gelu else convolution(maps)
        torch.testing.assert_close(Convolution(convolution, gelu=gelu)(maps), wanted)


def test_a_product_passes_gradients_on() -> None:
    product, values = Product(nn.Linear(6, 4), gelu=True), randomly(3, 6).requires_grad_()
    product(values).sum().backward()
    assert values.grad is not None
    assert product.weight.grad is not None


def test_nothing_and_no_rows_are_products_too() -> None:
    with torch.inference_mode():
        assert Product(nn.Linear(6, 4))(torch.empty(0, 6)).shape == (0, 4)


def test_an_autocast_counts_as_for_torchs_own_layers() -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert Product(nn.Linear(6, 4))(randomly(3, 6)).dtype == torch.bfloat16
        assert Convolution(nn.Conv2d(4, 2, 1))(randomly(1, 4, 3, 3)).dtype == torch.bfloat16


def test_names_and_parameters_stay() -> None:
    theirs = stock.NormMlp(6, 24)
    before = dict(theirs.named_parameters())
    with torch.inference_mode():
        wanted = theirs(randomly(1, 5, 6))
    ours = make_products(theirs)
    assert isinstance(ours.fc1, Product)
    assert ours.fc1.gelu
    assert not ours.fc2.gelu
    after = dict(ours.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    with torch.inference_mode():
        torch.testing.assert_close(ours(randomly(1, 5, 6)), wanted)


def test_another_activation_is_left_where_it_is() -> None:
    for other in (nn.ReLU(), nn.GELU(approximate="tanh")):
        assert not is_gelu(other)
        module = stock.NormMlp(6, 24)
        module.act = other
        assert make_products(module).act is other
        assert not module.fc1.gelu


@pytest.mark.parametrize("elements", [1, 16 * 5 * 3, 10**9], ids=["a row at a time", "three rows", "all at once"])
def test_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch, way: str, elements: int) -> None:
    monkeypatch.setattr(striped, "STRIP", elements)
    block = stock.MBConv(4, 4, 4.0, nn.GELU, 0.0).eval()
    for values in itertools.chain(block.parameters(), block.buffers()):
        if values.is_floating_point():
            nn.init.uniform_(values, 0.5, 1.5)
    maps = randomly(2, 4, 7, 5)
    with torch.inference_mode():
        wanted = block(maps)
        fold(block)
        torch.testing.assert_close(StripedBlock(make_products(block))(maps), wanted, rtol=1e-4, atol=1e-4)


def parts(dtype: Any, rows: int = 3, columns: int = 5, depth: int = 7) -> list[Any]:
    shapes = [depth] * 3 + [rows, columns]
    some = [3 * randomly(2, 2, rows * columns, last + at)[..., :last] for at, last in enumerate(shapes)]
    return [one.to(dtype) for one in some[:3]] + some[3:]


@pytest.mark.parametrize("block", [1, 2 * 15 * 15, 4 * 15, 10**6])
def test_channels_add_what_a_bias_adds(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """In float32, where neither rounds; also where blocks cut through queries and through heads."""
    monkeypatch.setattr(channel_attention, "BLOCK", block)
    given = parts(torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(by_channels(*given), by_bias(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "depth"), [(3, 5, 7), (4, 4, 8)], ids=["filled up", "eights"])
def test_one_call_of_a_fused_attention_adds_it_too(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int, depth: int
) -> None:
    given = parts(torch.float32, rows, columns, depth)
    with torch.inference_mode():
        wanted = by_bias(*given)
        assert (by_kernel(*given) - wanted).abs().mean() < 2e-3
        monkeypatch.setattr(channel_attention, "KERNEL", torch.float32)
        torch.testing.assert_close(by_kernel(*given), wanted, rtol=1e-4, atol=1e-5)


def test_what_is_far_below_all_others_does_not_overflow() -> None:
    """In float16 a large number less would be infinite, and times 0 no number."""
    query, key, value, by_row, by_column = parts(torch.float32)
    by_row[..., 0] -= 1e5
    with torch.inference_mode():
        found = by_kernel(query, key, value, by_row, by_column)
        assert (found - by_bias(query, key, value, by_row, by_column)).abs().mean() < 2e-3


def error_of(attend: Callable[..., Any], given: list[Any]) -> float:
    with torch.inference_mode():
        wanted = by_bias(*(one.double() for one in given))
        return float((attend(*given).double() - wanted).abs().mean())


def test_what_all_keys_share_does_not_cost_precision() -> None:
    """Rounded scores of this size would be useless: bfloat16 has steps of 2 above 256."""
    query, key, value, by_row, by_column = parts(torch.bfloat16)
    plain = error_of(by_channels, [query, key, value, by_row, by_column])
    far = [query, (key.float() + 64).bfloat16(), value, by_row + 500, by_column - 300]
    assert error_of(by_channels, far) < 4 * plain + 0.02


def test_channels_are_taken_in_half_precision_and_in_blocks_on_a_cpu_alone() -> None:
    query = parts(torch.bfloat16)[0]
    with torch.inference_mode():
        assert way_for(query) is by_channels
        assert way_for(query.float()) is way_for(query.half()) is None
    assert way_for(query) is None, "gradients may be wanted"
    with far_device(), torch.no_grad():
        far = query.to("cuda")
        assert way_for(far) is way_for(far.half()) is by_kernel
        assert way_for(far.float()) is None


@pytest.mark.skipif(not cpu_has_bfloat16(), reason="the CPU emulates bfloat16")
def test_bfloat16_is_fused_where_the_cpu_has_it() -> None:
    linear = nn.Linear(6, 4)
    values = randomly(3, 6)
    with torch.inference_mode():
        wanted = functional.gelu(linear(values))
        found = Product(linear, gelu=True).to(torch.bfloat16)(values)
    assert found.dtype == torch.bfloat16
    assert (found - wanted).abs().max() < 0.02
