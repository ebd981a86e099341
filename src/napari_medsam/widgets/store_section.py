"""The dock's row for encoded slices, and the window behind it: shows `Storage` and `Prepare`, passes choices on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_medsam.widgets import storage
from napari_medsam.widgets.compat import setting, store_setting
from napari_medsam.widgets.prefetch import mode
from napari_medsam.widgets.storage import Filled
from napari_medsam.widgets.store_panel import PreparePanel, StoreDialog

if TYPE_CHECKING:
    from napari_medsam.widgets.controller import Controller


class StoreSection(QObject):
    """Prepare volume, and the way to the store's window. It goes with its widgets when a viewer is closed.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._c = controller
        self.panel = PreparePanel()
        self.dialog: StoreDialog | None = None
        """The window, None until it was opened."""
        self.setParent(self.panel)
        self.panel.started.connect(lambda: controller.attempt(controller.prepare.start))
        self.panel.stopped.connect(lambda: controller.prepare.stop())
        self.panel.opened.connect(self.open)
        controller.storage.measured.connect(self._show_filled)
        controller.storage.changed.connect(self._show_choice)

    def refresh(self) -> None:
        """Show whether something is being prepared, and how far it is."""
        c, row = self._c, self._c.models.row
        done, total = c.prepare.progress
        ready = c.session is not None and not row.quick and not row.automatic
        self.panel.setValue(ready=ready, running=c.prepare.running, done=done, total=total)

    def open(self) -> None:
        """Show the window of the store, and find out how full it is."""
        if self.dialog is None:
            self.dialog = self._make_dialog()
        self._show_choice()
        self.dialog.show()
        self.dialog.raise_()
        self._c.storage.look()

    # -- inside ------------------------------------------------------------------------------------------------

    def _make_dialog(self) -> StoreDialog:
        dialog, c = StoreDialog(self.panel), self._c
        dialog.chosen.connect(c.storage.choose)
        dialog.ahead.connect(self._choose_ahead)
        dialog.live.connect(lambda on: store_setting("proposals.live", on))
        dialog.cleared_memory.connect(c.storage.clear_memory)
        dialog.cleared_device.connect(c.storage.clear_device)
        dialog.cleared_disk.connect(c.storage.clear_disk)
        return dialog

    def _choose_ahead(self, value: str) -> None:
        store_setting("models.prefetch", value)
        self._c.proposals.warm_soon()

    def _show_choice(self) -> None:
        if self.dialog is not None:
            self.dialog.setValue(storage.chosen(), mode().value, live=bool(setting("proposals.live", True)))

    def _show_filled(self, filled: Filled) -> None:
        if self.dialog is not None:
            self.dialog.show_filled(filled)
        self._c.proposals.ahead.recount()
