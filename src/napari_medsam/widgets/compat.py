"""The one place for napari functions that are not documented as public."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


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


def shortcut(name: str, default: str) -> str:
    """The key that a registered action has now, as the user reads it; `default` when napari does not say."""
    try:
        from napari.settings import get_settings

        chosen = get_settings().shortcuts.shortcuts.get(name)
    except (ImportError, AttributeError):
        return default
    return default if chosen is None else ", ".join(str(key) for key in chosen)
