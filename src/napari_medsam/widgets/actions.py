"""The actions with keys: listed and editable in Preferences > Shortcuts, and in the command palette."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from napari_medsam.widgets.compat import register_shortcut, shortcut, unwrapped
from napari_medsam.widgets.controller import Controller
from napari_medsam.widgets.controllers import controller_of


@dataclass(frozen=True)
class Action:
    """A named action on a controller, with its default key, "" for none."""

    name: str
    title: str
    key: str
    act: Callable[[Controller], Any]


ACTIONS = (
    Action("box", "Draw a box prompt", "G", lambda c: c.draw("box")),
    Action("point", "Click point prompts", "H", lambda c: c.draw("point")),
    Action("stroke", "Draw a stroke prompt", "W", lambda c: c.draw("stroke")),
    Action("line", "Draw a lesion's long and short axis", "Shift-W", lambda c: c.draw("line")),
    Action("refine", "Refine an object of the labels", "Q", lambda c: c.refine()),
    Action("accept", "Accept the proposed mask", "J", lambda c: c.accept()),
    Action("clear", "Clear proposals and prompts", "K", lambda c: c.clear()),
    Action("next_mask", "Next alternative mask", "N", lambda c: c.next_candidate()),
    Action("propagate", "Propagate through the volume", "U", lambda c: c.attempt(c.volume.propagate)),
    Action("stop_propagating", "Stop propagating", "", lambda c: c.volume.growing.stop()),
    Action("rerun", "Propagate again from this slice", "Shift-U", lambda c: c.attempt(c.volume.again)),
    Action("range_from", "Propagate from this slice on", ",", lambda c: c.attempt(c.volume.range_from_here)),
    Action("range_to", "Propagate up to this slice", ".", lambda c: c.attempt(c.volume.range_to_here)),
    Action("stop_here", "Propagation stops at this slice", "Shift-H", lambda c: c.attempt(c.volume.toggle_stop)),
    Action("next_doubtful", "Next doubtful slice", "Shift-N", lambda c: c.attempt(c.volume.next_doubtful)),
    Action("copy_on", "Copy prompts to the next frame", "", lambda c: c.attempt(c.volume.copy_to_next_frame)),
    Action("label_slice", "Label this slice without prompts", "", lambda c: c.label("slice")),
    Action("label_volume", "Label the volume without prompts", "", lambda c: c.label("volume")),
    Action("stop_labelling", "Stop labelling", "", lambda c: c.labelling.stop()),
    Action("undo", "Undo in the labels", "Control-Z", lambda c: c.undo()),
    Action("redo", "Redo in the labels", "Control-Shift-Z", lambda c: c.redo()),
)
"""G H J K N Q U W, comma and full stop, and Shift with H N U W are free in napari's viewer, menus and layers; undo and
redo have no viewer binding there.

An action without a key is listed all the same, so that the user can give it one.
"""


def key_of(name: str) -> str:
    """The key of an action: the user's choice in Preferences, else the default."""
    return shortcut(f"napari-medsam:{name}", next(action.key for action in ACTIONS if action.name == name))


def perform(name: str, viewer: Any) -> None:
    """Do an action in a viewer; nothing happens when no dock is open there."""
    controller = controller_of(unwrapped(viewer))
    if controller is not None:
        next(action for action in ACTIONS if action.name == name).act(controller)


def register_actions() -> None:
    """List all actions with napari. Doing it again changes nothing."""
    for action in ACTIONS:
        register_shortcut(f"napari-medsam:{action.name}", _command(action.name), action.title, action.key)


def _command(name: str) -> Callable[[Any], None]:
    def command(viewer: Any) -> None:
        perform(name, viewer)

    return command
