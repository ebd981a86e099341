"""The place in the dock where it is said what goes on, of any length."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtGui import QFont, QPalette, QTextLayout, QTextOption
from qtpy.QtWidgets import QLabel, QSizePolicy, QStylePainter

from napari_medsam.widgets.panels import NARROW

LEFT = 4
"""Pixels, as the theme leaves beside the labels above."""


class StatusLine(QLabel):
    """What the plugin is doing, or what went wrong, from the top; what does not fit is in the tooltip.

    A long text takes room from the sections above, which can be scrolled, down to its LEAST lines.
    """

    COLORS = {"busy": ("#d9a400", "#7a5600"), "error": ("#ff6b5e", "#b3261e")}
    """On a dark ground and on a light one: each can be read on those of napari's themes, with 4.5 : 1 at least."""
    LEAST, MOST = 4, 12

    def __init__(self) -> None:
        super().__init__()
        self._kind = "ready"
        self._colouring = False
        self.setSizePolicy(NARROW, QSizePolicy.Policy.Preferred)
        self.setContentsMargins(LEFT, 0, 0, 0)

    def show_line(self, text: str, kind: str) -> None:
        """Show a line; `kind` is ready, busy or error."""
        self._kind = kind
        self.setText(text)
        self.setToolTip(text)
        self._colour()

    def lines(self) -> list[str]:
        """What is seen of the text, line by line; the last one ends in an ellipsis where there is more."""
        area, found = self.contentsRect(), broken(self.text(), self.font(), self.contentsRect().width())
        fit = max(area.height() // self.fontMetrics().lineSpacing(), 1)
        if len(found) <= fit:
            return found
        cut, room = f"{found[fit - 1].rstrip()}…", area.width()
        return [*found[: fit - 1], self.fontMetrics().elidedText(cut, Qt.TextElideMode.ElideRight, room)]

    def sizeHint(self) -> QSize:
        """As high as the text is, within limits."""
        count = len(broken(self.text(), self.font(), self.contentsRect().width()))
        return QSize(0, self._height(min(max(count, self.LEAST), self.MOST)))

    def minimumSizeHint(self) -> QSize:
        """LEAST lines."""
        return QSize(0, self._height(self.LEAST))

    def paintEvent(self, event: Any) -> None:
        """Draw the lines that fit; a label would cut the text at its top as well."""
        painter, area = QStylePainter(self), self.contentsRect()
        for i, line in enumerate(self.lines()):
            at = area.translated(0, i * self.fontMetrics().lineSpacing())
            painter.drawItemText(
                at, Qt.AlignmentFlag.AlignTop, self.palette(), self.isEnabled(), line, self.foregroundRole()
            )

    def resizeEvent(self, event: Any) -> None:
        """In another width it has another number of lines."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def _height(self, lines: int) -> int:
        around = self.height() - self.contentsRect().height()
        return around + lines * self.fontMetrics().lineSpacing()

    def changeEvent(self, event: Any) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._colour()

    def _colour(self) -> None:
        if self._colouring:  # a new style sheet is a change of style, and in the midst of it the palette is another
            return
        self._colouring = True
        light = self.palette().color(QPalette.ColorRole.Window).lightness() > 127
        sheet = f"color: {self.COLORS[self._kind][light]};" if self._kind in self.COLORS else ""
        if sheet != self.styleSheet():
            self.setStyleSheet(sheet)
        self._colouring = False


def broken(text: str, font: QFont, width: int) -> list[str]:
    """A text in lines of a width, broken between words, and within those that are longer: paths and addresses."""
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    lines = []
    for paragraph in text.split("\n"):
        layout = QTextLayout(paragraph, font)
        layout.setTextOption(option)
        layout.beginLayout()
        while (line := layout.createLine()).isValid():
            line.setLineWidth(max(width, 1))
            lines.append(paragraph[line.textStart() : line.textStart() + line.textLength()])
        layout.endLayout()
    return lines
