"""The commands of the manifest: the same actions as the keys, for the command palette."""

from __future__ import annotations

from napari.viewer import Viewer

from napari_medsam.widgets.actions import perform

OURS = "napari-medsam"
PATTERNS = ("*.nii", "*.nii.gz")


def draw_box(viewer: Viewer) -> None:
    """Make the box tool ready."""
    perform("box", viewer)


def click_points(viewer: Viewer) -> None:
    """Make the point tool ready."""
    perform("point", viewer)


def draw_stroke(viewer: Viewer) -> None:
    """Make the stroke tool ready."""
    perform("stroke", viewer)


def refine(viewer: Viewer) -> None:
    """Take up an object of the labels to change it on this slice."""
    perform("refine", viewer)


def draw_line(viewer: Viewer) -> None:
    """Draw the axes of a lesion."""
    perform("line", viewer)


def propagate(viewer: Viewer) -> None:
    """Follow the object through the volume."""
    perform("propagate", viewer)


def stop_propagating(viewer: Viewer) -> None:
    """Stop following and keep what is found."""
    perform("stop_propagating", viewer)


def propagate_again(viewer: Viewer) -> None:
    """Follow the object again from the shown slice."""
    perform("rerun", viewer)


def range_from(viewer: Viewer) -> None:
    """Runs begin at the shown slice."""
    perform("range_from", viewer)


def range_to(viewer: Viewer) -> None:
    """Runs end at the shown slice."""
    perform("range_to", viewer)


def stop_here(viewer: Viewer) -> None:
    """Runs stop at the shown slice, or do so no more."""
    perform("stop_here", viewer)


def next_doubtful(viewer: Viewer) -> None:
    """Show the next doubtful slice."""
    perform("next_doubtful", viewer)


def copy_on(viewer: Viewer) -> None:
    """Copy prompts to the next frame."""
    perform("copy_on", viewer)


def label_slice(viewer: Viewer) -> None:
    """Label the axial slice at the sliders without prompts."""
    perform("label_slice", viewer)


def label_volume(viewer: Viewer) -> None:
    """Label the whole volume without prompts."""
    perform("label_volume", viewer)


def stop_labelling(viewer: Viewer) -> None:
    """Stop labelling and keep what is done."""
    perform("stop_labelling", viewer)


def accept(viewer: Viewer) -> None:
    """Write the proposals into the labels."""
    perform("accept", viewer)


def clear(viewer: Viewer) -> None:
    """Take proposals and prompts away."""
    perform("clear", viewer)


def next_mask(viewer: Viewer) -> None:
    """Turn to the next alternative mask."""
    perform("next_mask", viewer)


def undo(viewer: Viewer) -> None:
    """Take back the last change of the labels."""
    perform("undo", viewer)


def redo(viewer: Viewer) -> None:
    """Do the last undone change again."""
    perform("redo", viewer)


def use_reader() -> None:
    """Make this plugin napari's reader for NIfTI; napari's own drops the spacing, and "remember" stores `*.gz`."""
    from napari.settings import get_settings
    from napari.utils.notifications import show_info

    plugins = get_settings().plugins
    plugins.extension2reader = {**plugins.extension2reader, **dict.fromkeys(PATTERNS, OURS)}
    show_info("NIfTI files now open with napari-medsam. Change it in Preferences > Plugins.")
