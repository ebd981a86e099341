"""The small parts of the dock: what is said can be read in every theme, and what is unfolded is seen."""

from __future__ import annotations

import re

import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_medsam.widgets.panels import StatusLine, folding


def luminance(name: str) -> float:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    parts = (part / 255 for part in QColor(name).getRgb()[:3])
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("kind", ["busy", "error"])
def test_the_status_can_be_read_in_both_themes_and_follows_a_change_of_it(qtbot, kind: str) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    status = StatusLine()
    QVBoxLayout(window).addWidget(status)
    window.show()
    status.show_line("...", kind)
    for theme in ("dark", "light", "dark"):
        ground, text = get_theme(theme).background.as_hex(), get_theme(theme).text.as_hex()
        window.setStyleSheet(f"QWidget {{ background-color: {ground}; color: {text}; }}")
        colour = re.fullmatch(r"color: (#\w{6});", status.styleSheet())
        assert colour is not None
        low, high = sorted((luminance(colour[1]), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, theme
    status.show_line("...", "ready")
    assert not status.styleSheet(), "the theme's own"


def test_a_section_that_is_unfolded_is_scrolled_into_view(qtbot) -> None:
    content, label = QWidget(), QLabel("at the end of the section")
    label.setFixedHeight(80)
    fold = folding("Section", label)
    layout = QVBoxLayout(content)
    above = QLabel("much above it")
    above.setFixedHeight(300)
    layout.addWidget(above)
    layout.addWidget(fold)
    area = QScrollArea()
    qtbot.addWidget(area)
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.resize(200, 200)
    area.show()
    fold.toggleButton().click()

    def seen() -> None:
        assert label.visibleRegion().boundingRect().height() == label.height()
        assert not fold.toggleButton().visibleRegion().isEmpty()

    qtbot.waitUntil(lambda: label.height() == 80, timeout=2000)
    qtbot.waitUntil(lambda: seen() is None, timeout=2000)
