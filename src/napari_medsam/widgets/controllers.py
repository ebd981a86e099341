"""Which controller belongs to which viewer: held weakly, so that a closed viewer is forgotten."""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

from napari_medsam.widgets.controller import Controller

_of_viewer: weakref.WeakValueDictionary[int, Controller] = weakref.WeakValueDictionary()
_docks: weakref.WeakKeyDictionary[Controller, int] = weakref.WeakKeyDictionary()


def controller_of(viewer: Any) -> Controller | None:
    """The controller of a viewer, None when no dock is open in it."""
    found = _of_viewer.get(id(viewer))
    return found if found is not None and found.viewer is viewer else None


def attach(viewer: Any, dock: Any) -> Controller:
    """The controller of a viewer for one more dock, made for the first; it closes when the last dock is gone."""
    controller = controller_of(viewer)
    if controller is None:
        controller = _of_viewer[id(viewer)] = Controller(viewer)
    _docks[controller] = _docks.get(controller, 0) + 1
    # napari drops a closed dock without a signal that could be relied on
    weakref.finalize(dock, _detach, controller, id(viewer)).atexit = False
    return controller


def _detach(controller: Controller, viewer_id: int) -> None:
    _docks[controller] = _docks.get(controller, 1) - 1
    if _docks[controller] <= 0:
        _docks.pop(controller, None)
        if _of_viewer.get(viewer_id) is controller:
            _of_viewer.pop(viewer_id, None)
        controller.proposals.engine.close()
        controller.models.close()
        # a dock may be collected on any thread; the signal brings the rest to the controller's own
        with contextlib.suppress(RuntimeError):
            controller.done.emit()
