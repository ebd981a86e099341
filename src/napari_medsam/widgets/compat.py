"""The one place for napari functions that are not documented as public."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from napari_medsam.labels import START, Settled, Standing, Step


def unwrapped(viewer: Any) -> Any:
    """The viewer itself behind the proxy that napari hands to plugins, whose layers are not `is`-equal."""
    return getattr(viewer, "__wrapped__", viewer)


def register_shortcut(name: str, command: Callable[[Any], None], title: str, key: str) -> None:
    """List a viewer action in Preferences > Shortcuts, with `key` ("" for none) unless the user chose another.

    `napari.utils.action_manager` has no underscore but is undocumented; without it the buttons still work.
    """
    with contextlib.suppress(ImportError, AttributeError):
        import napari
        from napari.settings import get_settings
        from napari.utils.action_manager import action_manager

        action_manager.register_action(name, command, title, napari.Viewer)
        if key and name not in get_settings().shortcuts.shortcuts:
            action_manager.bind_shortcut(name, key)


def setting(name: str, default: Any) -> Any:
    """A value of the plugin's own page in Preferences, `name` as "group.value", or `default` where there is none."""
    group, _, value = name.partition(".")
    try:
        from napari.settings import get_plugin_settings

        return getattr(getattr(get_plugin_settings("napari-medsam"), group), value)
    except (ImportError, AttributeError, KeyError, ValueError):
        return default


def store_setting(name: str, value: Any) -> None:
    """Set a value of the plugin's own page in Preferences; napari saves it. Nothing happens where there is no page."""
    group, _, key = name.partition(".")
    with contextlib.suppress(ImportError, AttributeError, KeyError, ValueError):
        from napari.settings import get_plugin_settings

        setattr(getattr(get_plugin_settings("napari-medsam"), group), key, value)


def follow_settings(group: str, act: Callable[[Any], None]) -> None:
    """Call `act`, a bound method that is held weakly, when a value of a group of the plugin's own page changes."""
    with contextlib.suppress(ImportError, AttributeError, KeyError, ValueError):
        from napari.settings import get_plugin_settings

        getattr(get_plugin_settings("napari-medsam"), group).events.connect(act)


def canvas_widget(viewer: Any) -> Any:
    """The Qt widget that draws the layers and takes keys; None where this napari keeps it elsewhere.

    There is a public way to take pictures of it, but none to give it the keyboard.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # no window, or one that is gone
        return viewer.window._qt_viewer.canvas.native
    return None


def is_closing(viewer: Any) -> bool:
    """Whether `Viewer.close` was called, which takes all layers away before the window goes; napari does not say so.

    False where this napari slices in another way, and for a viewer without a window.
    """
    executor = getattr(getattr(viewer, "_layer_slicer", None), "_executor", None)
    return bool(getattr(executor, "_shutdown", False))


def shortcut(name: str, default: str) -> str:
    """The key that a registered action has now, as the user reads it; `default` when napari does not say."""
    try:
        from napari.settings import get_settings

        chosen = get_settings().shortcuts.shortcuts.get(name)
    except (ImportError, AttributeError):
        return default
    return default if chosen is None else ", ".join(str(key) for key in chosen)


def latest_step(layer: Any) -> Step:
    """The last step in the undo history of a Labels layer; napari has `undo` and `redo`, but no look at what they do.

    UNKNOWN for ever where this napari keeps its history in another way.
    """
    done = getattr(layer, "_undo_history", None)
    if done is None:
        return Settled(Standing.UNKNOWN)
    return _LayerStep(layer, done) if done else START


class _LayerStep:
    """A step of a Labels layer.

    napari has a queue of the steps that are done, and another of those that were undone. A step is a list of changes: a
    new list each time it goes from one to the other, of the same changes in reverse. Only a new step, of which a
    `paint` event tells, makes others leave: those that were undone, and, when the queue of those done is full, the
    oldest.

    Parameters
    ----------
    layer : napari.layers.Labels
    done : deque of list
        Its steps that are done, this one last.
    """

    def __init__(self, layer: Any, done: Any) -> None:
        self._layer = layer
        self._done = done
        self._change = done[-1][0]
        self._place = len(done) - 1
        self._settled: Standing | None = None
        layer.events.paint.connect(self._on_paint)

    @property
    def standing(self) -> Standing:
        """Whether it is done or undone at the moment; as it was last, when napari has begun a new history since."""
        if self._settled is not None:
            return self._settled
        return Standing.DONE if self._find() >= 0 else Standing.UNDONE

    def _find(self) -> int:
        """Where it is among those that are done; -1 where it is not."""
        here = (i for i, step in enumerate(self._done) if step[0] is self._change or step[-1] is self._change)
        return next(here, -1)

    def _on_paint(self, _event: Any) -> None:
        """A new step is on top of the history: this one is below it, or has left for good."""
        standing, place = self.standing, self._find()
        if place < 0:
            if self._place == 0 and len(self._done) > 1:
                standing = Standing.DONE  # pushed out: had it been undone, the new step would be alone
            self._settled, self._change = standing, None
            self._layer.events.paint.disconnect(self._on_paint)
        self._place = place
