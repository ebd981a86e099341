"""Which controller belongs to which viewer: held weakly, so that a closed viewer is forgotten."""

from __future__ import annotations

import weakref
from typing import Any

from napari_medsam.models import registry
from napari_medsam.widgets.controller import Controller

_of_viewer: weakref.WeakValueDictionary[int, Controller] = weakref.WeakValueDictionary()
_docks: weakref.WeakKeyDictionary[Controller, int] = weakref.WeakKeyDictionary()


def controller_of(viewer: Any) -> Controller | None:
    """The controller of a viewer, None when no dock is open in it."""
    found = _of_viewer.get(id(viewer))
    return found if found is not None and found.viewer is viewer else None


def attach(viewer: Any) -> Controller:
    """The controller of a viewer for one more dock; made for the first."""
    controller = controller_of(viewer)
    if controller is None:
        controller = _of_viewer[id(viewer)] = Controller(viewer, registry.load)
    _docks[controller] = _docks.get(controller, 0) + 1
    return controller


def detach(controller: Controller, *_: Any) -> None:
    """One dock less; the controller closes with the last."""
    _docks[controller] = _docks.get(controller, 1) - 1
    if _docks[controller] <= 0:
        _docks.pop(controller, None)
        _of_viewer.pop(id(controller.viewer), None)
        controller.close()
