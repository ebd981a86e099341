"""One line of the window of models: a row of the table, and what stands between it and its use, in words."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medsam.models import registry
from napari_medsam.models.checkpoints.parts import amount
from napari_medsam.models.checkpoints.places import Kind, State
from napari_medsam.models.row import Row
from napari_medsam.widgets.model_choice import ModelChoice

LOOKING = "looking ..."


@dataclass(frozen=True)
class Entry:
    """One line of the list.

    Parameters
    ----------
    row : Row
    state : str
        In words: built in, on disk, needs 375 MB, ...
    ready : bool
        Whether it can be used now.
    fetch : str
        What could be fetched without a person, in words; empty for nothing.
    wrong : bool
        Whether a file is there that cannot be it.
    page : str
        Where a person gets the file; empty where there is no such place.
    """

    row: Row
    state: str
    ready: bool
    fetch: str = ""
    wrong: bool = False
    page: str = ""

    @property
    def short(self) -> str:
        """The state for a narrow column: what is wrong with a file begins with a path."""
        return Kind.WRONG.value if self.wrong else self.state

    @property
    def searched(self) -> str:
        """What the words of a search are looked for in, in lower case."""
        row = self.row
        named = (row.name, row.title, row.family, row.about, row.licence, row.prompts_in_words, " ".join(row.classes))
        return " ".join((*named, self.state)).lower()


def entry_of(row: Row, models: ModelChoice) -> Entry:
    """The line of a row, with what goes on with it now."""
    state = models.states.get(row.name)
    if state is None:
        return Entry(row, _now(row, models) or LOOKING, ready=row.built_in)
    said = _now(row, models) or state.text
    wrong = state.kind is Kind.WRONG and said == state.text
    return Entry(row, said, state.ready, _fetchable(state), wrong=wrong, page=page_of(row, state))


def page_of(row: Row, state: State | None) -> str:
    """Where a person gets the file."""
    by_hand = next((file.page for file in row.files if file.page), "")
    return (state.page if state else "") or by_hand or row.source


def _now(row: Row, models: ModelChoice) -> str:
    """What goes on with a model; nothing where its state says all."""
    if models.fetching == row.name:
        return "fetching ..."
    if models.loading and registry.parse(models.loading)[0] == row:
        return "loading ..."
    if models.row != row:
        return ""
    path = registry.parse(models.reference)[1]
    return "in use" if path is None else f"in use: {path.name}"


def _fetchable(state: State) -> str:
    if state.ready:
        return ""
    own = state.file is not None and state.file.fetchable and state.found is None
    if own and state.kind is not Kind.WRONG:
        size = f" {amount(state.missing)}" if state.missing else ""
        return f"Fetch{size}"
    return f"Fetch {registry.row(state.base).title}" if state.base else ""
