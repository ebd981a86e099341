"""What came of a run that was written just now, in words for the status."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

import numpy as np

from napari_medsam.masks import BoolArray
from napari_medsam.propagation.gathering import Followed
from napari_medsam.propagation.growth import Growth, Written
from napari_medsam.propagation.provenance import EMPTY
from napari_medsam.session import Session
from napari_medsam.widgets.longrun import slices

NAMED = 3
"""So many objects are named in the status; of more only the number is said."""
PARTS = 3
"""So many stretches of slices are given one by one."""


class Account:
    """Looks at the labels that a run was written into, once, on the slices of the run.

    Parameters
    ----------
    session : Session
        With the labels as the run has left them.
    growth : Growth
    written : Written
    """

    def __init__(self, session: Session, growth: Growth, written: Written) -> None:
        self._growth = growth
        self._written = written
        self._session = session
        self.found: set[int] = set()
        """The slices on which something that was found is in the labels."""
        self.cleared: set[int] = set()
        """The slices on which an earlier run had found an object, and this one has not."""
        self.hidden: dict[int, set[int]] = {}
        """The slices on which nothing of an object could be written, by its label."""
        self._present: dict[int, str] = {}
        self._over: set[int] = set()
        for each in growth.objects:
            self._look(each, written.values[each.subjects[0].number])

    @property
    def nothing_written(self) -> bool:
        """Whether all that was found lies under other objects."""
        return bool(self.hidden) and not self.found and not self.cleared

    def said(self) -> str:
        """The account in a few sentences, without the verb that begins it."""
        parts = [self._said_of_found(), self._said_of_cleared(), *self._said_of_hidden()]
        if self._written.kept:
            parts.append(f"{slices(self._written.kept)} that you had given or corrected stayed as they were.")
        return " ".join(part for part in parts if part)

    # -- inside ------------------------------------------------------------------------------------------------

    def _look(self, each: Followed, value: int) -> None:
        """See what became of an object, the label of which is `value`."""
        growth = self._growth
        numbers = {subject.number for subject in each.subjects}
        at = {p for p in growth.positions if not numbers.isdisjoint(growth.found(p))} | set(each.given)
        for position in sorted(at | set(each.grown if growth.complete else ())):
            current = self._session.labels.read(growth.plan.stack.plane(position))
            if (current == value).any():
                if position in at:
                    self.found.add(position)
                    self._present[value] = self._name(value, each.name)
            elif position in at:
                self.hidden.setdefault(value, set()).add(position)
                under = current[self._mask(each, numbers, position)]
                self._over |= {int(other) for other in np.unique(under) if other}
            elif each.known(position) != EMPTY:
                self.cleared.add(position)

    def _mask(self, each: Followed, numbers: Collection[int], position: int) -> BoolArray:
        for number, mask in self._growth.masks(position).items():
            if number in numbers:
                return mask
        return each.given[position]

    def _name(self, value: int, name: str = "") -> str:
        return self._session.names.get(value, name or "the object")

    def _said_of_found(self) -> str:
        if not self.found:
            return "" if self.hidden else f"nothing was found{reasons(self._growth)}."
        said = f"{listed(tuple(self._present.values()))} on {places(self.found)}{reasons(self._growth)}."
        return said if self._written.slices else f"{said} Nothing has changed: all of it was there before."

    def _said_of_cleared(self) -> str:
        if not self.cleared:
            return ""
        return f"Cleared on {places(self.cleared)}, where it was not found again."

    def _said_of_hidden(self) -> list[str]:
        over = ", ".join(self._name(value) for value in sorted(self._over))
        owners = f"other objects ({over})" if over else "other objects"
        said = []
        for value, at in self.hidden.items():
            what = "it" if len(self._growth.objects) == 1 else self._name(value, self._growth_name(value))
            said.append(f"On {places(at)}, every pixel of {what} belongs to {owners}.")
        return [*said, "Choose to overwrite them (More, Others), or undo them first."] if said else []

    def _growth_name(self, value: int) -> str:
        """What the run calls an object."""
        values = self._written.values
        return next(name for number, name in self._growth.names.items() if values[number] == value)


def reasons(growth: Growth) -> str:
    """Why a single object ends where it does, e.g. " (the score dropped)"; of several nothing is said."""
    if len(growth.objects) != 1:
        return ""
    why = dict.fromkeys(str(ended.why) for ended in sorted(growth.ended, key=lambda e: e.position))
    return f" ({'; '.join(why)})" if why else ""


def listed(names: Sequence[str]) -> str:
    """Objects in words."""
    return ", ".join(names) if all(names) and 0 < len(names) <= NAMED else f"{len(names)} objects"


def places(positions: Collection[int]) -> str:
    """Slices in words, e.g. "6 slices, 2 to 4, 7 to 9", which always add up; many parts are given by their ends."""
    said = []
    for _, run in groupby(enumerate(sorted(positions)), key=lambda pair: pair[1] - pair[0]):
        at = [position for _, position in run]
        said.append(f"{at[0]}" if len(at) == 1 else f"{at[0]} to {at[-1]}")
    where = ", ".join(said) if len(said) <= PARTS else f"between {min(positions)} and {max(positions)}"
    return f"{slices(len(positions))}{',' if len(said) <= PARTS else ''} {where}"
