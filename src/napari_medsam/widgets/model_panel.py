"""The dock's row for the model, and the window behind it: shows `ModelChoice`, and passes on what the user chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QSizePolicy, QWidget

from napari_medsam.models import registry
from napari_medsam.models.checkpoints.parts import amount
from napari_medsam.models.checkpoints.sniffing import SUFFIXES
from napari_medsam.models.row import Row
from napari_medsam.widgets.model_choice import ModelChoice, is_at_once
from napari_medsam.widgets.model_dialog import ModelDialog
from napari_medsam.widgets.model_entry import entry_of, page_of
from napari_medsam.widgets.model_question import WhoseWeights
from napari_medsam.widgets.panels import NARROW, side_by_side

MORE = "More models ..."
IN_A_SHELL = "fetch it (napari-medsam fetch "
"""What `models` says of weights that are missing; it knows of no window."""
IN_THE_WINDOW = "fetch it (... beside Model, then Fetch; or in a shell: napari-medsam fetch "


class ModelPanel(QObject):
    """The models that can be used now, and the way to all others. It goes with its widgets when a viewer is closed.

    Parameters
    ----------
    models : ModelChoice
    """

    def __init__(self, models: ModelChoice) -> None:
        super().__init__()
        self._models = models
        self._offered: list[str] = []
        self._progress = ""
        self.dialog: ModelDialog | None = None
        """The window, None until it was opened."""
        self.question: WhoseWeights | None = None
        """What the user was asked last, None while nothing was."""
        self._make_parts()
        self._row = side_by_side(self.combo, self.more)
        self.setParent(self._row)
        self.combo.activated.connect(self._activated)
        self.more.clicked.connect(self.open)
        models.changed.connect(self._refresh_dialog)
        models.progressed.connect(self._show_progress)
        models.failed.connect(self._tell_error)
        models.said.connect(self._tell)
        if not models.states:
            models.look()

    def rows(self) -> list[tuple[str, QWidget]]:
        """The rows of the dock's form."""
        return [("Model", self._row), ("", self.text)]

    def refresh(self) -> None:
        """Show the model in use, and those that could be."""
        models = self._models
        ready = [row.name for row in registry.TABLE if is_at_once(row.name) or self._is_ready(row)]
        self._offer(ready if models.reference in ready else [*ready, models.reference])
        self.combo.setCurrentIndex(self.combo.findData(models.reference))
        self.combo.setToolTip(f"{registry.title(models.reference)}\n{models.row.about}")
        self.text.setText(self._summary())
        self.text.setToolTip(self._summary())

    def open(self) -> None:
        """Show the window of all models, and look up their state anew."""
        if self.dialog is None:
            # not a child of the combo: napari's style has rules for lists inside of one
            self.dialog = self._make_dialog(self._row)
        self.dialog.show()
        self.dialog.raise_()
        self._refresh_dialog()
        self._models.look()

    def take(self, path: str) -> None:
        """Use a file of weights that was dropped or chosen."""
        self._models.choose_file(path, self._ask)

    # -- inside ------------------------------------------------------------------------------------------------

    def _make_parts(self) -> None:
        self.combo = QComboBox()
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(8)
        self.more = QPushButton("...")
        self.more.setMinimumWidth(28)
        self.more.setMaximumWidth(36)
        self.more.setToolTip(
            "All models: their state, licences and downloads, files of your own, the device.\n"
            "A file of weights can also be dropped onto this dock."
        )
        self.text = QLabel()
        self.text.setSizePolicy(NARROW, QSizePolicy.Policy.Fixed)

    def _make_dialog(self, parent: QWidget) -> ModelDialog:
        dialog, models = ModelDialog(parent), self._models
        dialog.used.connect(models.choose)
        dialog.fetched.connect(models.fetch)
        dialog.stopped.connect(models.stop_fetching)
        dialog.returned.connect(models.look)
        dialog.opened.connect(self._open_page)
        dialog.file.connect(self.take)
        dialog.folder.connect(models.set_folder)
        dialog.device.connect(self._choose_device)
        dialog.precision.connect(self._choose_precision)
        return dialog

    def _offer(self, references: list[str]) -> None:
        if references == self._offered:
            return
        self._offered = references
        self.combo.clear()
        for reference in references:
            self.combo.addItem(registry.title(reference), reference)
        self.combo.insertSeparator(self.combo.count())
        self.combo.addItem(MORE, "")
        offered: Any = self.combo.view()
        offered.setMinimumWidth(offered.sizeHintForColumn(0) + 8)  # the combo itself is narrow

    def _activated(self, index: int) -> None:
        name = self.combo.itemData(index)
        if name:
            self._models.choose(name)
        else:
            self.open()
        self.refresh()  # the one in use is shown until the other is there

    def _is_ready(self, row: Row) -> bool:
        return row.name in self._models.states and self._models.states[row.name].ready

    def _summary(self) -> str:
        models = self._models
        if self._progress:
            return self._progress
        if models.loading:
            return f"loading {registry.title(models.loading)} ..."
        device = models.loaded.device if models.loaded else ""
        where = "built in" if is_at_once(models.reference) else f"loaded · {device}"
        return f"{where} · {models.row.licence}"

    def _refresh_dialog(self) -> None:
        models, dialog = self._models, self.dialog
        if dialog is None or not dialog.isVisible():
            return
        dialog.setValue([entry_of(row, models) for row in registry.TABLE], models.row.name)
        compute = models.compute
        dialog.set_places(models.folder, models.devices, compute.device, compute.precision)

    def _show_progress(self, name: str, done: int, total: int) -> None:
        of = f" of {amount(total)}" if total else ""
        self._progress = f"{registry.row(name).title}: {amount(done)}{of}" if name else ""
        self.text.setText(self._summary())
        if self.dialog is not None:
            self.dialog.set_progress(self._progress, done, total)

    def _open_page(self, name: str) -> None:
        row = registry.row(name)
        page = page_of(row, self._models.states.get(name))
        QDesktopServices.openUrl(QUrl(page))
        self._models.said.emit(f"Get {row.title} from {page}, then choose the file, or drop it here.", "ready")

    def _choose_device(self, name: str) -> None:
        self._models.set_compute(device=name)

    def _choose_precision(self, name: str) -> None:
        self._models.set_compute(precision=name)

    def _ask(self, path: str, rows: tuple[Row, ...]) -> None:
        """Ask whose weights a file holds, without waiting for the answer; it is remembered."""
        shown = self.dialog is not None and self.dialog.isVisible()
        self.question = WhoseWeights(path, rows, self.dialog if shown and self.dialog else self.more.window())
        self.question.answered.connect(self._models.remember)
        self.question.rejected.connect(self._leave)
        self.question.open()

    def _leave(self) -> None:
        self._models.said.emit("The file is not used.", "ready")

    def _tell_error(self, error: Exception) -> None:
        if self.dialog is not None:
            self.dialog.say(with_button(str(error)), wrong=True)

    def _tell(self, text: str, kind: str) -> None:
        if self.dialog is not None:
            self.dialog.say(text, wrong=kind == "error")


def with_button(text: str) -> str:
    """What went wrong, with the button that mends it where weights are missing."""
    return text.replace(IN_A_SHELL, IN_THE_WINDOW)


def weights_in(event: Any) -> str:
    """The file of weights that is dragged, "" for none: by its suffix, so that napari still gets images."""
    local = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
    return next((path for path in local if Path(path).suffix.lower() in SUFFIXES), "")
