"""A thin bar along the slices: what is ready, how sure each mask is, what is certain, the range, and where one is."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

MARGIN, BRACKET, BAR, MARKS = 5, 5, 12, 7
"""Pixels: at both sides, and from top to bottom the range, the bar, the marks of keys."""
FOOT = 4
"""Pixels of the bar, from below, that say that a slice would be changed."""
SCALE = ((0.0, "#c8500a"), (0.5, "#fdae61"), (0.75, "#abc9df"), (1.0, "#2b7bba"))
"""Colour of a score: warm is doubtful, cool is sure. Told apart with any colour vision."""
READY = "#8e86b5"
CHANGED = "#ff2bd6"
"""Of the slices that a clean-up would change."""
FINEST = 100
"""Steps from the lowest score to the highest."""
ENCODED, NOTHING = FINEST + 1, FINEST + 2
SHADE = 0.62
"""How much of the bar's colour is seen outside the range."""


class SliceStrip(QWidget):
    """A bar of all slices of a stack, the first at the left; click or drag to go to one.

    Where slices are more than pixels, a pixel shows the most doubtful of its slices.
    """

    chosen = Signal(int)
    """The user points at this slice."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0
        self._position = -1
        self._ready: NDArray[np.bool_] = np.zeros(0, dtype=bool)
        self._scores: dict[int, float] = {}
        self._keys: frozenset[int] = frozenset()
        self._stops: frozenset[int] = frozenset()
        self._changed: frozenset[int] = frozenset()
        self._span = (0, 0)
        self.setFixedHeight(BRACKET + BAR + MARKS)
        self.setMinimumWidth(60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("Slices")

    def sizeHint(self) -> QSize:
        """As wide as the dock is."""
        return QSize(220, BRACKET + BAR + MARKS)

    def setSize(self, size: int) -> None:
        """There are `size` slices; all else is forgotten when it is another number than before."""
        if size != self._size:
            self._size, self._span = size, (0, max(size - 1, 0))
            self._ready = np.zeros(size, dtype=bool)
            self._scores = {}
            self._keys = self._stops = self._changed = frozenset()
            self.update()

    def setReady(self, ready: Sequence[bool] | NDArray[np.bool_]) -> None:
        """Which slices are encoded, (size,) bool; one of another length is of another stack, and is passed over."""
        given = np.asarray(ready, dtype=bool)
        if given.shape == (self._size,) and not np.array_equal(given, self._ready):
            self._ready = given.copy()
            self.update()

    def setScores(self, scores: Mapping[int, float]) -> None:
        """The score, 0 to 1, of each slice that has a mask."""
        if scores != self._scores:
            self._scores = dict(scores)
            self.update()

    def setKeys(self, keys: Collection[int]) -> None:
        """The slices whose mask is certain or prompted."""
        if frozenset(keys) != self._keys:
            self._keys = frozenset(keys)
            self.update()

    def setStops(self, stops: Collection[int]) -> None:
        """The slices at which a run is to stop."""
        if frozenset(stops) != self._stops:
            self._stops = frozenset(stops)
            self.update()

    def setChanged(self, changed: Collection[int]) -> None:
        """The slices that would change, if what is shown were applied."""
        if frozenset(changed) != self._changed:
            self._changed = frozenset(changed)
            self.update()

    def setSpan(self, first: int, last: int) -> None:
        """The range of a run, both slices included."""
        if (first, last) != self._span:
            self._span = first, last
            self.update()

    def setPosition(self, position: int) -> None:
        """The slice that is shown, -1 for none."""
        if position != self._position:
            self._position = position
            self.update()

    def value(self) -> int:
        """The slice that is marked as shown, -1 for none."""
        return self._position

    def slice_at(self, x: float) -> int:
        """The slice at a horizontal position in pixels; beyond the ends the first or the last."""
        at = int((x - MARGIN) * self._size / self._length)
        return min(max(at, 0), self._size - 1)

    def said_of(self, position: int) -> str:
        """What is known of a slice, in words."""
        said = [f"slice {position}"]
        if position in self._scores:
            said.append(f"score {self._scores[position]:.2f}")
        if position in self._keys:
            said.append("prompted, painted or corrected")
        if position in self._stops:
            said.append("stop here")
        if position in self._changed:
            said.append("would be changed")
        if 0 <= position < self._size and self._ready[position]:
            said.append("encoded")
        return ", ".join(said)

    # -- Qt ----------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: Any) -> None:
        """Go to the slice under the mouse."""
        self._point(event)

    def mouseMoveEvent(self, event: Any) -> None:
        """Follow the mouse while the button is down."""
        self._point(event)

    def event(self, event: Any) -> bool:
        """Say what is under the mouse when it rests."""
        if event.type() == QEvent.Type.ToolTip and self._size:
            QToolTip.showText(event.globalPos(), self.said_of(self.slice_at(event.pos().x())), self)
            return True
        return bool(super().event(event))

    def paintEvent(self, event: Any) -> None:
        """Draw the bar."""
        painter = QPainter(self)
        if self._size:
            self._paint_bar(painter)
            self._paint_range(painter)
            self._paint_marks(painter)
            self._paint_position(painter)
        else:
            painter.fillRect(QRectF(MARGIN, BRACKET, self._length, BAR), self._grey)
        painter.end()

    # -- inside ------------------------------------------------------------------------------------------------

    @property
    def _length(self) -> float:
        return max(self.width() - 2 * MARGIN, 1)

    @property
    def _pitch(self) -> float:
        """Pixels from slice to slice."""
        return self._length / max(self._size, 1)

    @property
    def _ink(self) -> QColor:
        return self.palette().color(QPalette.ColorRole.WindowText)

    @property
    def _grey(self) -> QColor:
        """Between text and background, so that it is seen on both."""
        return _between(self.palette().color(QPalette.ColorRole.Window), self._ink, 0.28)

    def _point(self, event: Any) -> None:
        if self._size and event.buttons() & Qt.MouseButton.LeftButton:
            at = self.slice_at(event.position().x())
            if at != self._position:
                self.chosen.emit(at)

    def _middle(self, position: int) -> float:
        return MARGIN + (position + 0.5) * self._pitch

    def _paint_bar(self, painter: QPainter) -> None:
        """A colour a pixel: of its slice, or of the most doubtful one where slices are more."""
        pixels = int(self._length)
        starts = np.arange(pixels) * self._size // pixels
        state, slices = self._state, np.arange(self._size)
        inside = (slices >= self._span[0]) & (slices <= self._span[1])
        if self._size > pixels:
            state, inside = np.minimum.reduceat(state, starts), np.maximum.reduceat(inside, starts)
        else:
            state, inside = state[starts], inside[starts]
        rgb = self._palette[state]
        behind = np.array(self.palette().color(QPalette.ColorRole.Window).getRgb()[:3])
        rgb = np.where(inside[:, None], rgb, behind + (rgb - behind) * (1 - SHADE))
        row = np.ascontiguousarray(rgb.round().astype(np.uint8))
        image = QImage(row.tobytes(), pixels, 1, 3 * pixels, QImage.Format.Format_RGB888)
        painter.drawImage(QRectF(MARGIN, BRACKET, self._length, BAR), image)

    @property
    def _state(self) -> NDArray[np.intp]:
        """Of each slice where its colour is in `_palette`: scores come first, the lowest at 0."""
        state = np.where(self._ready, ENCODED, NOTHING)
        for positions, scores in ((self._keys, None), (self._scores, self._scores)):
            for at in positions:
                if 0 <= at < self._size:
                    state[at] = FINEST if scores is None else round(min(max(scores[at], 0.0), 1.0) * FINEST)
        return state

    @property
    def _palette(self) -> NDArray[np.float64]:
        """The colours of a score, of a slice that is ready, and of one that is not: (FINEST + 3, 3)."""
        others = (_between(self._grey, QColor(READY), 0.75), self._grey)
        return np.array([*_score_colours(), *(colour.getRgb()[:3] for colour in others)], dtype=np.float64)

    def _paint_range(self, painter: QPainter) -> None:
        """A bracket over the range, where it is less than everything."""
        if self._span == (0, self._size - 1):
            return
        painter.setPen(QPen(self._ink, 1))
        left = round(MARGIN + self._span[0] * self._pitch)
        right = round(MARGIN + (self._span[1] + 1) * self._pitch) - 1
        painter.drawLine(left, 1, right, 1)
        for x in (left, right):
            painter.drawLine(x, 1, x, BRACKET - 1)

    def _paint_marks(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._ink)
        top = BRACKET + BAR + 1
        for key in self._keys:
            x = self._middle(key)
            painter.drawPolygon(QPolygonF([QPointF(x, top), QPointF(x - 3.5, top + 5), QPointF(x + 3.5, top + 5)]))
        for at in self._changed:
            left = round(MARGIN + at * self._pitch)
            wide = max(round(MARGIN + (at + 1) * self._pitch) - left, 2)
            painter.fillRect(QRectF(left, BRACKET + BAR - FOOT, wide, FOOT), QColor(CHANGED))
        for stop in self._stops:
            painter.fillRect(QRectF(self._middle(stop) - 1.5, 0, 3, BRACKET + BAR), QColor("#ff3b30"))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)

    def _paint_position(self, painter: QPainter) -> None:
        if 0 <= self._position < self._size:
            x = round(self._middle(self._position))
            painter.fillRect(QRectF(x - 2, BRACKET - 2, 5, BAR + 4), self.palette().color(QPalette.ColorRole.Window))
            painter.fillRect(QRectF(x - 1, BRACKET - 2, 3, BAR + 4), self._ink)


def colour_of(score: float) -> QColor:
    """The colour of a score, 0 to 1; beyond these it is that of the nearer end."""
    stops = [(at, QColor(name)) for at, name in SCALE]
    for (low, a), (high, b) in itertools.pairwise(stops):
        if score <= high:
            return _between(a, b, min(max((score - low) / (high - low), 0.0), 1.0))
    return stops[-1][1]


@cache
def _score_colours() -> tuple[tuple[int, ...], ...]:
    return tuple(colour_of(step / FINEST).getRgb()[:3] for step in range(FINEST + 1))


def _between(a: QColor, b: QColor, part: float) -> QColor:
    """`a` with a `part` of `b` in it."""
    mixed = (round(x + (y - x) * part) for x, y in zip(a.getRgb()[:3], b.getRgb()[:3], strict=True))
    return QColor(*mixed)
