"""The small parts of the dock: what is said can be read in every theme, and what is unfolded is seen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from napari.utils.theme import get_theme
from qtpy.QtGui import QColor, QImage
from qtpy.QtWidgets import QLabel, QScrollArea, QTextEdit, QVBoxLayout, QWidget

from napari_medsam.widgets.panels import folding
from napari_medsam.widgets.status_line import StatusLine

LONG = "MedSAM needs medsam_vit_b.pth, which is not on this machine: put it into /root/.local/share/napari-medsam. "


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


@pytest.fixture
def column(qtbot) -> Iterator[tuple[QTextEdit, StatusLine]]:
    """Something that can be scrolled, and a status below it, in a narrow window."""
    window, above, status = QWidget(), QTextEdit(), StatusLine()
    qtbot.addWidget(window)
    layout = QVBoxLayout(window)
    layout.addWidget(above, 1)
    layout.addWidget(status)
    window.resize(260, 500)
    window.show()
    yield above, status
    window.hide()  # the fixture holds it until then


def test_a_long_status_is_seen_whole_where_there_is_room(qtbot, column: tuple[QTextEdit, StatusLine]) -> None:
    _, status = column
    low = status.height()
    status.show_line(LONG * 2, "error")
    qtbot.waitUntil(lambda: status.height() > low)
    assert "".join(status.lines()) == LONG * 2
    assert status.height() >= len(status.lines()) * status.fontMetrics().lineSpacing()
    path = "/" + "a_folder_of_a_long_name" * 4
    status.show_line(path, "error")
    assert "".join(status.lines()) == path, "what has no spaces is broken too"
    status.show_line("ready", "ready")
    qtbot.waitUntil(lambda: status.height() == low, timeout=2000)


def test_a_status_without_room_begins_at_its_top_and_ends_in_an_ellipsis(
    qtbot, column: tuple[QTextEdit, StatusLine]
) -> None:
    above, status = column
    above.setMinimumHeight(400)
    status.show_line(LONG * 8, "error")
    qtbot.wait(50)
    lines = status.lines()
    assert LONG.startswith(lines[0].strip())
    assert lines[-1].endswith("…")
    assert len(lines) * status.fontMetrics().lineSpacing() <= status.height()
    assert status.toolTip() == LONG * 8
    first = inked(status.grab().toImage())
    assert 0 < first[0] <= status.fontMetrics().ascent(), "no row of pixels is cut off"
    status.show_line(lines[0].strip(), "error")
    assert inked(status.grab().toImage())[0] == first[0], "a short text begins there as well"


def inked(picture: QImage) -> list[int]:
    """The rows of pixels in which anything is drawn."""
    ground, width = picture.pixelColor(0, picture.height() - 1), picture.width()
    return [y for y in range(picture.height()) if any(picture.pixelColor(x, y) != ground for x in range(width))]


def test_the_triangle_of_a_section_has_the_colour_of_the_text_and_points_where_it_opens(qtbot) -> None:
    fold = folding("Section", QLabel("content"))
    qtbot.addWidget(fold)
    fold.show()
    for theme in ("dark", "light", "dark"):
        ground, text = get_theme(theme).background.as_hex(), get_theme(theme).text.as_hex()
        fold.setStyleSheet(f"QWidget {{ background-color: {ground}; color: {text}; }}")
        for icon in (fold.collapsedIcon(), fold.expandedIcon()):
            assert icon.pixmap(16, 16).toImage().pixelColor(8, 8).name() == QColor(text).name(), theme
    folded, unfolded = (icon.pixmap(16, 16).toImage() for icon in (fold.collapsedIcon(), fold.expandedIcon()))
    assert height(folded, 5) > height(folded, 10), "it ends in a point at the right"
    assert height(unfolded, 8) > height(unfolded, 3), "at the bottom"


def height(picture: QImage, x: int) -> int:
    """How many pixels are drawn in a column."""
    return sum(picture.pixelColor(x, y).alpha() > 127 for y in range(picture.height()))


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
