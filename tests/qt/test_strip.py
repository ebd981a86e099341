"""The bar along the slices: where a click leads, and what is seen of many slices in few pixels."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medsam.widgets.strip import BAR, BRACKET, CHANGED, MARGIN, SliceStrip, colour_of

WIDTH = 230


@pytest.fixture
def strip(qtbot) -> SliceStrip:
    made = SliceStrip()
    qtbot.addWidget(made)
    made.resize(WIDTH, made.height())
    return made


def seen(strip: SliceStrip) -> np.ndarray:
    """The bar as it is drawn, (pixels, 3)."""
    image = strip.grab().toImage()
    ratio = image.width() / WIDTH
    y = round((BRACKET + BAR / 2) * ratio)
    colours = (image.pixelColor(round(x * ratio), y) for x in range(MARGIN, WIDTH - MARGIN))
    return np.array([colour.getRgb()[:3] for colour in colours])


@pytest.mark.parametrize("size", [1, 2, 7, 104, 230, 700])
def test_every_pixel_leads_to_the_slice_that_is_drawn_there(strip: SliceStrip, size: int) -> None:
    strip.setSize(size)
    asked: list[int] = []
    strip.chosen.connect(asked.append)
    for x in (0, MARGIN, WIDTH // 3, WIDTH // 2, WIDTH - MARGIN - 1, WIDTH - 1):
        QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(x, 8))
        there = (x - MARGIN) * size // (WIDTH - 2 * MARGIN)
        assert asked[-1] == min(max(there, 0), size - 1)
    assert asked[0] == 0
    assert asked[-1] == size - 1
    before = len(asked)
    QTest.mouseClick(strip, Qt.MouseButton.RightButton, pos=QPoint(60, 8))
    assert len(asked) == before


def test_the_most_doubtful_of_many_slices_is_seen(strip: SliceStrip) -> None:
    strip.setSize(900)
    strip.setScores(dict.fromkeys(range(900), 0.95) | {451: 0.05})
    colours = seen(strip)
    sure, doubtful = (np.array(colour_of(score).getRgb()[:3]) for score in (0.95, 0.05))
    there = np.flatnonzero((np.abs(colours - doubtful) <= 2).all(axis=1))
    assert len(there) >= 1
    assert abs(there.mean() / len(colours) - 451.5 / 900) < 2 / len(colours)
    assert (np.abs(colours - sure) <= 2).all(axis=1).sum() >= len(colours) - len(there) - 2


def test_low_scores_are_warm_and_told_from_high_ones_by_brightness_or_blue_alone() -> None:
    scores = np.linspace(0, 1, 21)
    red, green, blue = np.array([colour_of(s).getRgb()[:3] for s in scores]).T.astype(int)
    assert (np.diff(red - blue) <= 0).all(), "warm to cool, in one direction"
    assert red[0] - blue[0] > 150
    assert blue[-1] - red[-1] > 100
    assert (green >= 0).all()


def test_what_is_known_of_a_slice_is_said_and_forgotten_with_the_stack(strip: SliceStrip) -> None:
    strip.setSize(5)
    strip.setReady([True, False, True, False, False])
    strip.setReady([True] * 4)  # of another stack
    strip.setScores({2: 0.5})
    strip.setKeys({0})
    strip.setStops({4})
    strip.setChanged({3})
    said = [strip.said_of(at) for at in range(5)]
    assert said == [
        "slice 0, prompted, painted or corrected, encoded",
        "slice 1",
        "slice 2, score 0.50, encoded",
        "slice 3, would be changed",
        "slice 4, stop here",
    ]
    plain = seen(strip)
    strip.setSpan(1, 3)
    limited = seen(strip)
    fifth = len(plain) // 5
    assert not np.array_equal(plain[:fifth], limited[:fifth]), "outside the range it fades"
    assert np.array_equal(plain[2 * fifth : 3 * fifth], limited[2 * fifth : 3 * fifth])
    strip.setSize(6)
    assert [strip.said_of(at) for at in range(6)] == [f"slice {at}" for at in range(6)]
    strip.setPosition(3)
    assert strip.value() == 3
    strip.setSize(0)
    seen(strip)


def test_the_slices_that_a_clean_up_would_change_are_marked_and_no_others(strip: SliceStrip) -> None:
    strip.setSize(10)
    strip.setScores(dict.fromkeys(range(10), 0.9))
    strip.setChanged({2, 7})
    image = strip.grab().toImage()
    ratio = image.width() / WIDTH
    y = round((BRACKET + BAR - 2) * ratio)
    length = (WIDTH - 2 * MARGIN) / 10
    middles = (round((MARGIN + (at + 0.5) * length) * ratio) for at in range(10))
    marked = [at for at, x in enumerate(middles) if image.pixelColor(x, y).name() == CHANGED]
    assert marked == [2, 7]
