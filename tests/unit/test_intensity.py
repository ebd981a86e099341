"""Windows, and the grey values that a model sees through them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_medsam import intensity
from napari_medsam.errors import IntensityError
from napari_medsam.intensity import (
    CT_PRESETS,
    LAZY_SLICES,
    MOST_SLICES,
    PERCENTILE,
    SAMPLE,
    TYPED,
    Window,
    WindowedArray,
    looks_like_ct,
    percentile_window,
    sample,
    suggest_window,
    to_uint8,
)
from napari_medsam.phantom import ct_phantom

from .fakes import LazyArray, voxels

ABDOMEN = CT_PRESETS["CT abdomen"]
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32"]
SWAPPED = [">i2", ">f4", ">u2"]
NUMBERS = st.floats(-1e5, 1e5)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    low = draw(NUMBERS)
    return Window(low, low + draw(st.floats(1e-3, 1e5)))


def grey(value: float, low: float, high: float) -> int:
    """The formula in plain floats: clip, scale with the window's own bounds, truncate."""
    return int((min(max(value, low), high) - low) / (high - low) * 255)


# -- the formula -----------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.integers(1, 20), elements=NUMBERS), windows())
def test_grey_values_are_the_formula_in_float64(values: np.ndarray, window: Window) -> None:
    assert to_uint8(values, window).tolist() == [grey(float(v), window.low, window.high) for v in values]


@given(hnp.arrays(np.int16, st.integers(1, 20)), windows())
def test_integers_are_mapped_as_the_floats_they_are(values: np.ndarray, window: Window) -> None:
    assert to_uint8(values, window).tolist() == [grey(float(v), window.low, window.high) for v in values]


@given(st.lists(NUMBERS, min_size=2, max_size=20), windows())
def test_a_brighter_voxel_never_looks_darker(values: list[float], window: Window) -> None:
    shown = to_uint8(np.sort(values), window).astype(int)
    assert (np.diff(shown) >= 0).all()
    assert shown.min() >= 0
    assert shown.max() <= 255


@given(windows())
def test_the_bounds_become_black_and_white(window: Window) -> None:
    values = np.array([-np.inf, window.low, window.high, np.inf, np.nan])
    assert to_uint8(values, window).tolist() == [0, 0, 255, 255, 0]


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32)), windows())
def test_nan_and_infinity_never_reach_the_model(values: np.ndarray, window: Window) -> None:
    before = values.tobytes()
    with np.errstate(invalid="raise", over="raise", divide="raise"):
        shown = to_uint8(values, window)
    assert shown.dtype == np.uint8
    assert shown.shape == (3, 4)
    assert values.tobytes() == before, "the image is not written to"


@pytest.mark.parametrize("dtype", [*DTYPES, *SWAPPED, "float64"])
def test_every_real_type_can_be_shown(dtype: str) -> None:
    """SAM4IS: int16 raises TypeError."""
    values = np.array([0, 1, 3, 100], dtype=dtype)
    expected = [grey(float(v), 0.0, 3.0) for v in values]
    assert to_uint8(values, Window(0, 3)).tolist() == expected


# -- fast and small, and equal to the formula -------------------------------------------------------------------

SHORT = ["bool", "int8", "uint8", "int16", "uint16", ">i2", ">u2"]
LONG = ["int32", "uint32", ">i4", "int64", "uint64", "float16", "float32", ">f4", "float64"]


def formula(values: np.ndarray, window: Window) -> np.ndarray:
    """The formula as the module states it, on the whole array at once, in float64."""
    shown = np.array(values, dtype=np.float64)
    shown[np.isnan(shown)] = window.low
    shown = np.clip(shown, window.low, window.high)
    return ((shown - window.low) / (window.high - window.low) * 255).astype(np.uint8)


def every(dtype: str) -> np.ndarray:
    """All values of a type of 8 or 16 bits."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return np.array([False, True])
    bounds = np.iinfo(kind)
    return np.arange(bounds.min, bounds.max + 1).astype(kind)


@pytest.mark.parametrize("dtype", SHORT)
@settings(max_examples=30, deadline=None)
@given(window=windows())
def test_all_values_of_a_short_type_are_the_formula(dtype: str, window: Window) -> None:
    values = every(dtype)
    assert np.array_equal(to_uint8(values, window), formula(values, window))
    assert np.array_equal(to_uint8(values[::-3], window), formula(values[::-3], window))


@pytest.mark.parametrize("window", [*CT_PRESETS.values(), Window(0, 255), Window(0, 1), Window(-0.5, 254.5)])
def test_all_65536_values_of_int16_are_the_formula(window: Window) -> None:
    values = every("int16").reshape(256, 256)
    assert values.size == 65_536
    assert np.array_equal(to_uint8(values, window), formula(values, window))
    assert np.array_equal(to_uint8(values.T, window), formula(values.T, window))


@pytest.mark.parametrize("dtype", [*SHORT, *LONG])
@settings(max_examples=40, deadline=None)
@given(data=st.data(), window=windows(), block=st.integers(1, 30))
def test_any_array_is_the_formula_however_it_is_cut(
    dtype: str, data: st.DataObject, window: Window, block: int
) -> None:
    values = data.draw(hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)))
    turned = values.T[..., ::-1] if values.ndim else values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensity, "BLOCK", block)
        for each in (values, turned):
            shown = to_uint8(each, window)
            assert (shown.shape, shown.dtype) == (each.shape, np.uint8)
            assert np.array_equal(shown, formula(each, window))
            assert not np.shares_memory(shown, each)
            assert shown.flags.writeable


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats()), windows())
def test_any_float_at_all_is_the_formula(values: np.ndarray, window: Window) -> None:
    assert np.array_equal(to_uint8(values, window), formula(values, window))


def test_what_was_shown_may_be_written_to_without_a_trace() -> None:
    values = every("int16")
    to_uint8(values, ABDOMEN)[...] = 9
    assert np.array_equal(to_uint8(values, ABDOMEN), formula(values, ABDOMEN))


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "int32", "float32", "float64"])
def test_a_large_slice_needs_little_memory_beside_itself(dtype: str) -> None:
    """Whole slices in float64 took 2 GB for 8000 x 8000."""
    values = np.ones((2000, 3000), dtype=dtype)
    tracemalloc.start()
    shown = to_uint8(values, ABDOMEN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    swapped = values.nbytes if not values.dtype.isnative else 0
    assert peak < shown.nbytes + swapped + 20_000_000


# -- faults of peers -------------------------------------------------------------------------------------------


def test_window_is_clipped_not_wrapped() -> None:
    """napari-sam scales without clipping and casts to uint8: -1024 HU -> 218, 300 -> 37."""
    hounsfield = np.array([-1024, -1000, -160, 40, 240, 300, 3071], dtype=np.int16)
    assert to_uint8(hounsfield, ABDOMEN).tolist() == [0, 0, 0, 127, 255, 255, 255]


def test_one_3071_hu_voxel_moves_no_grey_value() -> None:
    """micro-sam scales each slice with its own minimum and maximum: one voxel moves 40 HU from grey 204 to 65."""
    plane = np.full((6, 8), 40, dtype=np.int16)
    plane[2, 3:6] = 120
    before = to_uint8(plane, ABDOMEN)
    plane[0, 0] = 3071
    after = to_uint8(plane, ABDOMEN)
    assert before[1, 1] == after[1, 1] == 127
    assert (before != after).sum() == 1


def test_the_windows_bounds_scale_not_the_datas_minimum_and_maximum() -> None:
    """MedSAMSlicer scales with the data's min and max, so one organ gets another grey value in every slice."""
    soft = np.array([0, 40, 80], dtype=np.int16)
    alone = to_uint8(soft, ABDOMEN)
    assert alone.tolist() == [102, 127, 153]
    for others in ([-1000, 500], [20, 30], [200]):
        assert to_uint8(np.array([*soft, *others]), ABDOMEN)[:3].tolist() == alone.tolist()


def test_soft_tissue_keeps_its_grey_levels() -> None:
    """SAMV2 shows a CT in 17 grey levels, Crick soft tissue in 2."""
    assert len(np.unique(to_uint8(np.arange(-160, 241), ABDOMEN))) == 256


def test_the_volume_is_not_overwritten_with_what_is_shown() -> None:
    """MedSAMSlicer overwrites the loaded volume with values from 0 to 255."""
    plane = voxels()[1].astype(np.uint8)
    plane.flags.writeable = False
    shown = to_uint8(plane, Window(0, 255))
    assert np.array_equal(shown, plane)
    assert not np.shares_memory(shown, plane)
    assert shown.flags.writeable


# -- windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (np.nan, 1), (0, np.nan), (-np.inf, 0), (0, np.inf)])
def test_what_is_no_window_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(IntensityError, match="lower bound below its upper bound"):
        Window(*bounds)


@pytest.mark.parametrize("width", [0, -400, np.nan])
def test_a_width_must_be_above_zero(width: float) -> None:
    with pytest.raises(IntensityError, match="width"):
        Window.from_width_level(width, 40)


def test_an_infinite_width_or_level_is_refused() -> None:
    for width, level in ((np.inf, 0), (100, np.inf), (100, np.nan)):
        with pytest.raises(IntensityError):
            Window.from_width_level(width, level)


@given(st.floats(0.01, 1e5), st.floats(-1e5, 1e5))
def test_width_and_level_there_and_back(width: float, level: float) -> None:
    window = Window.from_width_level(width, level)
    assert window.width == pytest.approx(width, rel=1e-6, abs=1e-9)
    assert window.level == pytest.approx(level, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("CT abdomen", -160, 240),
        ("CT lung", -1350, 150),
        ("CT brain", 0, 80),
        ("CT mediastinum", -125, 225),
        ("CT bone", -500, 1300),
        ("CT liver", -45, 105),
    ],
)
def test_ct_presets_are_the_radiologists(name: str, low: float, high: float) -> None:
    assert CT_PRESETS[name] == Window(low, high)


# -- suggestions -----------------------------------------------------------------------------------------------


def test_percentiles_are_of_the_voxels_above_zero() -> None:
    tissue = np.random.default_rng(0).gamma(3, 100, 5000)
    values = np.concatenate([np.zeros(20000), -tissue[:50], tissue, [np.nan, np.inf]])
    low, high = np.percentile(tissue, (0.5, 99.5))
    assert percentile_window(values) == Window(float(low), float(high))


def test_percentiles_of_an_image_without_positive_voxels() -> None:
    values = -np.arange(1.0, 1001.0)
    low, high = np.percentile(values, (0.5, 99.5))
    assert percentile_window(values) == Window(float(low), float(high))


@pytest.mark.parametrize("value", [0, 7, -1000, 3071, 1e-12, 1e6])
def test_a_constant_image_can_be_shown(value: float) -> None:
    values = np.full((4, 6), value)
    window = suggest_window(values)[1]
    assert window.low <= value <= window.high
    assert to_uint8(values, window).shape == (4, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_a_finite_value_is_refused(value: float) -> None:
    with pytest.raises(IntensityError, match="no finite value"):
        suggest_window(np.full((4, 6), value))


def test_the_phantom_is_recognised_as_ct() -> None:
    image, _, _ = ct_phantom((12, 40, 50))
    assert suggest_window(sample(image.data)) == ("CT abdomen", ABDOMEN)


@pytest.mark.parametrize("padding", [-2000, -3024, -1024])
def test_padding_outside_the_scanners_circle_does_not_hide_a_ct(padding: int) -> None:
    values = np.concatenate([np.full(300, padding), np.full(300, -1000), np.linspace(-100, 200, 400)])
    assert suggest_window(values.astype(np.int16))[0] == "CT abdomen"
    assert suggest_window(np.append(values, np.nan))[0] == "CT abdomen"


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 1200, 500).astype(np.uint16),
        np.linspace(0, 1, 500),
        np.linspace(-1, 1, 500),
        np.linspace(-3, 3, 500).astype(np.float32),
        np.linspace(-30000, 30000, 500),
        np.zeros(10),
    ],
)
def test_what_is_no_ct_gets_percentiles(values: np.ndarray) -> None:
    assert not looks_like_ct(values)
    assert suggest_window(values)[0] == PERCENTILE


def test_uint8_and_bool_are_shown_as_they_are() -> None:
    assert suggest_window(np.array([3, 9], dtype=np.uint8)) == (TYPED, Window(0, 255))
    assert suggest_window(np.array([False, True])) == (TYPED, Window(0, 1))
    assert to_uint8(np.arange(256, dtype=np.uint8), Window(0, 255)).tolist() == list(range(256))


# -- the sample ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 6, 8), (3, 5, 6, 8), (2, 6, 8), (1, 6, 8)])
def test_a_lazy_image_is_sampled_in_a_few_single_slices(shape: tuple[int, ...]) -> None:
    lazy = LazyArray(np.arange(np.prod(shape)).reshape(shape))
    values = sample(lazy)
    count = min(LAZY_SLICES, int(np.prod(shape[:-2])))
    assert [size for _, size in lazy.reads] == [(6, 8)] * count
    assert values.size == count * 48


def test_a_sample_takes_slices_from_all_over_the_volume() -> None:
    volume = np.broadcast_to(np.arange(200)[:, None, None], (200, 6, 8))
    taken = np.unique(sample(volume))
    assert len(taken) == MOST_SLICES
    assert taken[0] < 4
    assert taken[-1] > 195
    assert np.diff(taken).max() <= 4


def test_a_sample_of_a_large_volume_is_thinned() -> None:
    volume = np.broadcast_to(np.arange(1024, dtype=np.int16), (70, 1024, 1024))
    assert SAMPLE / 4 < sample(volume).size <= SAMPLE


def test_a_sample_of_a_plane_is_the_plane() -> None:
    plane = voxels()[1]
    assert np.array_equal(sample(plane)[0], plane)


# -- the view --------------------------------------------------------------------------------------------------


def test_the_view_shows_what_the_model_sees_slice_by_slice() -> None:
    lazy = LazyArray(voxels())
    seen = WindowedArray(lambda: lazy, lambda: ABDOMEN)
    assert (seen.shape, seen.ndim, seen.size, seen.dtype, len(seen)) == ((4, 6, 8), 3, 192, np.uint8, 4)
    assert not lazy.reads
    assert np.array_equal(seen[2], to_uint8(voxels()[2], ABDOMEN))
    assert np.array_equal(seen[:, 3, 1:4], to_uint8(voxels()[:, 3, 1:4], ABDOMEN))
    assert [size for _, size in lazy.reads] == [(6, 8), (4, 3)]


def test_the_view_follows_the_window_and_converts_as_a_whole() -> None:
    window = [Window(-600, 0)]
    seen = WindowedArray(voxels, lambda: window[0])
    before = np.asarray(seen)
    window[0] = Window(0, 600)
    after = np.asarray(seen, dtype=np.float32)
    assert np.array_equal(before, to_uint8(voxels(), Window(-600, 0)))
    assert np.array_equal(after, to_uint8(voxels(), Window(0, 600)))
    assert after.dtype == np.float32


def test_the_view_follows_the_array() -> None:
    array = [voxels()]
    seen = WindowedArray(lambda: array[0], lambda: ABDOMEN)
    array[0] = LazyArray(voxels()[:, ::-1].astype(np.float32))
    assert np.array_equal(seen[2], to_uint8(voxels()[2, ::-1], ABDOMEN))


def test_the_view_of_colour_follows_from_three_channels_to_four() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 4)).astype(np.uint8)
    array = [colour[..., :3]]
    seen = WindowedArray(lambda: array[0], lambda: Window(0, 255), rgb=True)
    array[0] = colour
    assert seen.shape == (4, 6, 8, 3)
    assert np.array_equal(seen[1], colour[1, ..., :3])
