"""The one narrow dock: panels top to bottom in the order of work, over the viewer's controller."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QScrollArea,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_medsam.errors import LabelsError
from napari_medsam.geometry import VIEWS
from napari_medsam.masks import Overlap
from napari_medsam.prompts import PromptKind
from napari_medsam.widgets.actions import key_of, register_actions
from napari_medsam.widgets.compat import canvas_widget, unwrapped
from napari_medsam.widgets.controller import Controller
from napari_medsam.widgets.controllers import attach
from napari_medsam.widgets.focus import KeysBack
from napari_medsam.widgets.model_choice import said_of
from napari_medsam.widgets.model_panel import ModelPanel, weights_in, with_button
from napari_medsam.widgets.panels import (
    NARROW,
    LabelPanel,
    LayerCombo,
    ObjectPanel,
    ProposalPanel,
    WindowPanel,
    button,
    folding,
    short_key,
    side_by_side,
)
from napari_medsam.widgets.saving import save_in_background
from napari_medsam.widgets.status_line import StatusLine
from napari_medsam.widgets.store_section import StoreSection
from napari_medsam.widgets.volume_section import VolumeSection

if TYPE_CHECKING:
    import napari


LABEL_PADDING = 8


class SegmentDock(QWidget):
    """Prompt segmentation: choose an image, draw a box or click points, accept, save.

    Every dock of one viewer shows the same controller, so opening it twice does no harm.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        viewer = unwrapped(napari_viewer)
        register_actions()
        self.controller: Controller = attach(viewer, self)
        self.setAcceptDrops(True)
        self._tried: weakref.WeakSet[Any] = weakref.WeakSet()
        self._declined = False
        self._make_parts()
        self._lay_out()
        self._connect()
        self._keys = KeysBack(self, partial(canvas_widget, viewer))
        self._adopt_image()
        self.refresh()
        self._show_said(*self.controller.status)

    def refresh(self) -> None:
        """Show the state of the controller and the layers that there are."""
        layers, c, work = _Layers(self.controller), self.controller, self.controller.work
        self.image.offer(layers.images(), c.image)
        self.labels.offer(layers.labels(), work.target.layer if work else None)
        self.shapes.offer(layers.of_kind("shapes"), c.proposals.user_shapes)
        self.points.offer(layers.of_kind("points"), c.proposals.user_points)
        self.model.refresh()
        if work is not None:
            session = work.session
            self.window_panel.setValue(work.window_choice.name, session.window, seen=c.seen.layer is not None)
            self.objects.setValue(session.names, session.target, session.new_name)
            self.overlap.setCurrentText(session.overlap.value)
        draft = work.draft if work else None
        count = len(draft.prediction.masks) if draft and draft.prediction else 0
        self.proposal.setValue(draft.score if draft else None, draft.candidate if draft else 0, count)
        for widget in self._needs_image:
            widget.setEnabled(c.session is not None)
        for view in self.view_buttons:  # a single slice has one view only
            view.setEnabled(c.session is not None and c.image.ndim > 2)
        self._offer_tools()
        self.volume.refresh()
        self.store.refresh()

    def hideEvent(self, event: Any) -> None:
        """When the whole window is closed, and not only this dock hidden, what is under way ends."""
        window = self.parentWidget()
        while window is not None and window.parentWidget() is not None:
            window = window.parentWidget()
        if window is not None and not window.isVisible() and not event.spontaneous():
            self.controller.window_closed()

    def dragEnterEvent(self, event: Any) -> None:
        """Take files of weights; napari opens others."""
        if weights_in(event):
            event.acceptProposedAction()

    def dropEvent(self, event: Any) -> None:
        """Use the weights that were dropped."""
        self.model.take(weights_in(event))
        event.acceptProposedAction()

    def save_as(self) -> None:
        """Ask for a file and save the labels there."""
        try:
            layer = self.controller.labels_to_save()
        except LabelsError as error:
            self.controller.complain(error)
            return
        path, _ = QFileDialog.getSaveFileName(self, "Save labels", f"{layer.name}.nii.gz", "NIfTI (*.nii.gz *.nii)")
        if path:
            save_in_background(self.controller, layer, path)

    # -- inside ------------------------------------------------------------------------------------------------

    def _offer_tools(self) -> None:
        """Grey out what the model does not take, with the reason; name the stand-ins; other tools for labellers."""
        row = self.controller.models.row
        self.tools.setCurrentIndex(int(row.automatic))
        self.label_panel.setValue(ready=self.controller.session is not None, running=self.controller.labelling.running)
        for kind, (made, tip) in self._tools.items():
            made.setEnabled(made.isEnabled() and kind in row.takes)
            made.setToolTip(f"{tip}\n{said_of(row, kind)}".strip())
        self.line_button.setEnabled(self.box_button.isEnabled())

    def _make_parts(self) -> None:
        c = self.controller
        self.image = LayerCombo("(no image)")
        self.window_panel = WindowPanel()
        self.view_buttons = [
            button(name.capitalize(), f"Show {name} slices", "", partial(c.turn, name)) for name in VIEWS
        ]
        self.model = ModelPanel(c.models)
        self._make_tools()
        self.proposal = ProposalPanel(key_of("next_mask"))
        tip = "Write the proposal into the labels; drawing the next box does it too"
        self.accept_button = button("Accept", tip, key_of("accept"), c.accept)
        self.clear_button = button("Clear", "Take the proposals and their prompts away", key_of("clear"), c.clear)
        self.undo_button = button("Undo", "Take back the last change of the labels", "", c.undo)
        self.redo_button = button("Redo", "Do the last undone change again", "", c.redo)
        for name, made in (("undo", self.undo_button), ("redo", self.redo_button)):
            made.setToolTip(f"{made.toolTip()} (key {key_of(name)})")
        self.volume = VolumeSection(c)
        self.store = StoreSection(c)
        self.overlap = QComboBox()
        self.overlap.addItems([overlap.value for overlap in Overlap])
        self.labels = LayerCombo("(new labels)")
        self.shapes = LayerCombo("(plugin's boxes only)")
        self.points = LayerCombo("(plugin's points only)")
        tip = "Read the image again after it was edited in place"
        self.again = button("Read image again", tip, "", c.recompute)
        self.save = button("Save labels ...", "Save as NIfTI with the source's geometry", "", self.save_as)
        self.status = StatusLine()

    def _make_tools(self) -> None:
        """What prompts are drawn with; for labellers what is in their place."""
        c = self.controller
        self.box_button = button("Box", "Draw a box around an object", key_of("box"), lambda: c.draw("box"))
        tip = "Click on the object; right click or Shift click off it"
        self.point_button = button("Points", tip, key_of("point"), lambda: c.draw("point"))
        tip = "Draw along the object; with Shift, along what is not the object"
        self.stroke_button = button("Stroke", tip, key_of("stroke"), lambda: c.draw("stroke"))
        tip = (
            "Draw the long axis of a lesion from border to border and, if you like, the short one across it (RECIST):\n"
            "the model is asked with the box that they make"
        )
        self.line_button = button("Line", tip, key_of("line"), lambda: c.draw("line"))
        self.line_button.setText(short_key(self.line_button.text()))
        self._tools = {
            PromptKind.BOX: (self.box_button, self.box_button.toolTip()),
            PromptKind.POINT: (self.point_button, self.point_button.toolTip()),
            PromptKind.STROKE: (self.stroke_button, self.stroke_button.toolTip()),
        }
        self.label_panel = LabelPanel(c.label, c.labelling.stop)
        self.tools = QStackedWidget()
        self.tools.addWidget(side_by_side(self.box_button, self.point_button, self.stroke_button, self.line_button))
        self.tools.addWidget(self.label_panel)
        self.objects = ObjectPanel(key_of("refine"))
        self._tools[PromptKind.MASK] = (self.objects.refine, self.objects.refine.toolTip())

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addLayout(self._form())
        layout.addWidget(self._folds(), 1)
        layout.addWidget(self.status)
        self.setMinimumWidth(250)
        self._needs_image = [
            self.window_panel.preset, self.window_panel.eye, self.window_panel.width_box, self.window_panel.level_box,
            *self.view_buttons, self.box_button, self.point_button, self.stroke_button, self.line_button,
            self.objects.combo, self.objects.name, self.objects.refine,
            self.accept_button, self.clear_button, self.undo_button, self.redo_button, self.overlap,
            self.labels, self.again,
        ]  # fmt: skip

    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self.image)
        form.addRow("View", side_by_side(*self.view_buttons))
        for label, widget in self.window_panel.rows():
            form.addRow(label, widget)
        for label, widget in self.model.rows():
            form.addRow(label, widget)
        form.addRow(self.tools)
        for label, widget in self.objects.rows():
            form.addRow(label, widget)
        form.addRow(self.proposal)
        form.addRow(side_by_side(self.accept_button, self.clear_button, self.undo_button, self.redo_button))
        form.addRow(self.save)
        _widen_labels(form)
        return form

    def _folds(self) -> QWidget:
        """The sections that fold, scrolled where they are higher than the window."""
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for title, section in (("3D", self.volume), ("More", self._more())):
            layout.addWidget(folding(title, section))
        layout.addStretch(1)
        area = QScrollArea()
        area.setWidget(content)
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setSizePolicy(NARROW, QSizePolicy.Policy.Expanding)
        return area

    def _more(self) -> QWidget:
        more = QWidget()
        rows = QFormLayout(more)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Labels", self.labels)
        rows.addRow("Others", self.overlap)
        rows.addRow("Boxes", self.shapes)
        rows.addRow("Points", self.points)
        rows.addRow(self.again)
        rows.addRow(self.store.panel)
        _widen_labels(rows)
        return more

    def _connect(self) -> None:
        c = self.controller
        self.image.chosen.connect(self._choose_image)
        self.window_panel.chosen.connect(c.choose_window)
        self.window_panel.seen.connect(lambda on: c.show_seen(visible=on))
        self.objects.chosen.connect(c.choose_object)
        self.objects.named.connect(c.name_object)
        self.objects.refined.connect(c.refine)
        self.proposal.turned.connect(c.next_candidate)
        self.overlap.activated.connect(lambda i: c.choose_overlap(list(Overlap)[i]))
        self.labels.chosen.connect(c.choose_labels)
        for combo in (self.shapes, self.points):
            combo.chosen.connect(lambda _: c.choose_prompts(self.shapes.value(), self.points.value()))
        c.changed.connect(self.refresh)
        c.said.connect(self._show_said)
        events = c.viewer.layers.events
        for emitter in (events.inserted, events.removed, events.reordered, events.renamed):
            emitter.connect(self._on_layers)

    def _show_said(self, text: str, kind: str) -> None:
        self.status.show_line(with_button(text), kind)

    def _on_layers(self, event: Any = None) -> None:
        self._adopt_image()
        self.refresh()

    def _adopt_image(self) -> None:
        """Take the active image, or the newest, when none is chosen; each is tried once, and none against the user."""
        if self.controller.image is not None or self._declined:
            return
        images = [image for image in _Layers(self.controller).images() if image not in self._tried]
        if images:
            active = self.controller.viewer.layers.selection.active
            chosen = next((i for i in images if i is active), images[-1])
            self._tried.add(chosen)
            self.controller.choose_image(chosen)

    def _choose_image(self, layer: Any) -> None:
        self._declined = layer is None
        self.controller.choose_image(layer)


def _widen_labels(form: QFormLayout) -> None:
    """Room for the theme's padding, which the layout does not count."""
    for i in range(form.rowCount()):
        item = form.itemAt(i, QFormLayout.ItemRole.LabelRole)
        label = None if item is None else item.widget()
        if label is not None:
            label.setMinimumWidth(label.sizeHint().width() + LABEL_PADDING)


class _Layers:
    """The layers that the combos offer: the user's, not the plugin's own."""

    def __init__(self, controller: Controller) -> None:
        self._c = controller

    def images(self) -> list[Any]:
        """Image layers of two axes or more."""
        return [layer for layer in self._of_type("image") if layer is not self._c.seen.layer and layer.ndim >= 2]

    def labels(self) -> list[Any]:
        """Labels layers that are not the preview."""
        return [layer for layer in self._of_type("labels") if layer is not self._c.proposals.preview.layer]

    def of_kind(self, kind: str) -> list[Any]:
        """Shapes or Points layers of the user."""
        return [layer for layer in self._of_type(kind) if not self._c.proposals.layers.owns(layer)]

    def _of_type(self, kind: str) -> list[Any]:
        # napari's own name for a layer type; importing the classes would be slower and no clearer
        return [layer for layer in self._c.viewer.layers if type(layer).__name__.lower() == kind]
