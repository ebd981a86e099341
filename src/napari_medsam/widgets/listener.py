"""What the viewer and the image in use do by themselves: layers come and go, sliders move, pixels change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medsam.widgets.compat import is_closing
from napari_medsam.widgets.views import stand_up
from napari_medsam.widgets.wiring import TRANSFORM_EVENTS, wire

if TYPE_CHECKING:
    from napari_medsam.widgets.controller import Controller


class Listener:
    """The ear of a controller: turns napari's events into its actions.

    Parameters
    ----------
    controller : Controller
        Its viewer is listened to from now on; its image from `follow_image`.
    """

    def __init__(self, controller: Controller) -> None:
        self._c = controller
        self._image: Any = None
        self.upright = False
        """Whether views are kept upright when the order of axes changes: once the user has turned to one."""
        self._follow_viewer(connect=True)

    def follow_image(self, layer: Any) -> None:
        """Listen to this Image layer (None for none) and no more to the last one."""
        if self._image is not None:
            self._wire_image(connect=False)
        self._image = layer
        if layer is not None:
            self._wire_image(connect=True)

    def close(self) -> None:
        """Let go of the viewer and of the image."""
        self.follow_image(None)
        self._follow_viewer(connect=False)

    # -- inside ------------------------------------------------------------------------------------------------

    def _follow_viewer(self, *, connect: bool) -> None:
        dims, layers = self._c.viewer.dims.events, self._c.viewer.layers.events
        wire(((layers.removed, self._on_removed), (layers.inserted, self._on_inserted)), connect=connect)
        wire([(layers.removing, self._on_removing)], connect=connect)
        wire(((e, self._on_dims) for e in (dims.point, dims.ndisplay)), connect=connect)
        wire([(dims.order, self._on_order)], connect=connect)

    def _wire_image(self, *, connect: bool) -> None:
        events = self._image.events
        wire(((events.data, self._on_image), (events.contrast_limits, self._on_contrast)), connect=connect)
        wire(((getattr(events, name), self._on_moved) for name in TRANSFORM_EVENTS), connect=connect)

    def _on_image(self, event: Any = None) -> None:
        self._c.recompute()

    def _on_moved(self, event: Any = None) -> None:
        self._c.recompute(pixels=False)

    def _on_removing(self, event: Any = None) -> None:
        """A viewer that closes takes its layers away first: what is found is written while they are there."""
        if is_closing(self._c.viewer):
            self._c.window_closed()

    def _on_removed(self, event: Any) -> None:
        c, layer, work = self._c, event.value, self._c.work
        if layer is c.seen.layer:
            c.show_seen(visible=False)
        elif work is not None and layer is work.layer:
            c.choose_image(None)
            c.say("The image was removed. Choose another one.")
        elif work is not None and layer is work.target.layer:
            c.lose_labels()
        elif layer is c.proposals.user_shapes:
            c.choose_prompts(None, c.proposals.user_points)
        elif layer is c.proposals.user_points:
            c.choose_prompts(c.proposals.user_shapes, None)
        elif c.proposals.layers.owns(layer):
            c.proposals.place()
            c.proposals.read_soon()
        c.forget(layer)
        c.proposals.keep_unit_soon()

    def _on_inserted(self, event: Any = None) -> None:
        self._c.proposals.keep_unit_soon()

    def _on_dims(self, event: Any = None) -> None:
        if self._c.viewer.dims.ndisplay == 3:
            self._c.proposals.layers.rest()
        else:
            self._c.proposals.warm_soon()

    def _on_order(self, event: Any = None) -> None:
        if self.upright and self._c.image is not None:
            stand_up(self._c.viewer, self._c.image)
        self._on_dims()

    def _on_contrast(self, event: Any = None) -> None:
        work = self._c.work
        if work is not None and work.window_choice.follows_layer:
            self._c.choose_window(work.window_choice.name)
