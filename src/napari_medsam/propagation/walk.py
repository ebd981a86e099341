"""A run through a stack: one slice of work a step, so that to cancel is to stop asking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from napari_medsam.embeddings import EmbeddingStore
from napari_medsam.errors import MedsamError, PromptError, UnsupportedError
from napari_medsam.inference import explained
from napari_medsam.masks import BoolArray
from napari_medsam.models.base import Direction, Prediction, Propagator, Segmenter
from napari_medsam.prompts import Logits, PromptKind
from napari_medsam.propagation.followers import ByBox, ByMemory, ByShapes, BySlices, Follower, Shown, Track
from napari_medsam.propagation.legs import Leg
from napari_medsam.propagation.plan import Ended, Grown, Passed, Plan, Way, steps_of
from napari_medsam.propagation.prompting import require_promptable
from napari_medsam.propagation.slices import AnyModel, Slices
from napari_medsam.propagation.stopping import Look, StopRules, Watch
from napari_medsam.propagation.subject import Key
from napari_medsam.propagation.why import Why

Value = TypeVar("Value")
Steps = Iterator[Grown | Ended | Passed]

MOST_AHEAD = 32
"""Slices that are looked ahead at most, for models that encode several at a time."""


def walk(plan: Plan, model: AnyModel | None, store: EmbeddingStore) -> Iterator[Grown | Ended | Passed]:
    """Follow the objects of a plan through its stack.

    First the keys with open prompts are asked for. Then the legs are walked, every object at once: a slice upwards and
    a slice downwards in turn, so that a run which is stopped has gone as far both ways; by the model's memory, of which
    there is room for one, first all of them upwards. What was given stays true whatever happens later.

    Parameters
    ----------
    plan : Plan
    model : Segmenter or Propagator, optional
        Interpolation between certain masks needs none.
    store : EmbeddingStore
        Where embeddings are found and left, by the same keys as those of single slices.

    Yields
    ------
    Grown, Ended or Passed
        A mask of an object on a slice, never of a certain key; or the end of one direction; or nothing but a sign of
        life. Between one and the next, one slice at most is read and encoded, or as many as the model encodes
        together.

    Raises
    ------
    UnsupportedError
        The model does not offer this way, or does not take the prompts. At once, as the next.
    PromptError
        There is nothing to do: all slices of the range are certain; or there is one key only to interpolate from.
    ImageError
        On the way: a slice cannot be read.
    ModelError
        On the way: the model failed; MemoryShortError where memory ran out.
    """
    follower = _follower(plan, model)
    if not steps_of(plan):
        raise PromptError("There is nothing to do: every slice of the range is certain already. Widen the range.")
    return _Walk(plan, follower, model, store).steps()


def _follower(plan: Plan, model: AnyModel | None) -> Follower:
    opened = [key for subject in plan.subjects for key in subject.keys if not key.certain]
    if model is not None and not isinstance(model, Segmenter | Propagator):
        raise UnsupportedError(f"{model.spec.title} takes no prompts. Choose a model that takes a box or points.")
    if model is not None:
        for key in opened:
            model.spec.check(key.prompts)
    if plan.way is Way.MEMORY:
        return ByMemory(plan, _propagator(model))
    if plan.way is Way.SHAPES:
        _require_two_keys(plan)
        return ByShapes(plan, (BySlices(plan, _segmenter(model)),) if opened else ())
    segmenter = _segmenter(model)
    if plan.way is Way.BOX:
        if PromptKind.BOX not in segmenter.spec.takes:
            raise UnsupportedError(
                f"{segmenter.spec.title} takes no box. Choose '{Way.SLICES.value}', or another model."
            )
        return ByBox(plan, segmenter)
    require_promptable(segmenter.spec, plan.prompting)
    return BySlices(plan, segmenter)


def _propagator(model: AnyModel | None) -> Propagator:
    if isinstance(model, Propagator):
        return model
    title = "Without a model an object" if model is None else f"{model.spec.title} has no memory, so an object"
    raise UnsupportedError(
        f"{title} cannot be followed by it. Choose '{Way.SLICES.value}', or a model of the SAM 2 family."
    )


def _segmenter(model: AnyModel | None) -> Segmenter:
    if isinstance(model, Segmenter):
        return model
    raise UnsupportedError("This way needs a model that takes prompts on single slices. Choose one.")


def _require_two_keys(plan: Plan) -> None:
    for subject in plan.subjects:
        if len(subject.keys) < 2:
            raise PromptError(
                f"Shapes are interpolated between two slices or more, but only slice {subject.keys[0].position} says "
                "where the object is. Accept a mask or draw a box on another slice."
            )


class _Walk:
    """A run on its way."""

    def __init__(self, plan: Plan, follower: Follower, model: AnyModel | None, store: EmbeddingStore) -> None:
        self._plan = plan
        self._follower = follower
        self._slices = Slices(plan, model, store)
        self._model = "" if model is None else model.spec.name
        self._legs = plan.legs
        self._keys = {(subject.number, key.position): key for subject in plan.subjects for key in subject.keys}
        self._masks: dict[tuple[int, int], BoolArray] = {}
        self._logits: dict[tuple[int, int], Logits | None] = {}
        """Those of the masks of keys, where they are handed on."""
        self._looks: dict[tuple[int, int], Look] = {}

    def steps(self) -> Iterator[Grown | Ended | Passed]:
        """All steps of the run."""
        ways = (Direction.UP, Direction.DOWN)
        turns = [d for d in ways if any(leg.positions for leg in self._legs if leg.direction is d)] or [Direction.UP]
        # two memories do not fit where one does, so that a follower that forgets goes one way after the other
        for together in ([d] for d in turns) if self._follower.forgets else (turns,):
            yield from self._learn(together[0])
            for step in _in_turn([self._sweep(direction) for direction in together]):
                yield from step
            self._slices.forget()
        for leg in self._legs:
            if leg.direction not in turns:
                yield self._ended_at_once(leg)

    # -- keys --------------------------------------------------------------------------------------------------

    def _learn(self, direction: Direction) -> Iterator[Grown | Passed]:
        """Take all keys, in the order of the walk; masks that were asked for are given the first time only."""
        positions = sorted({at for _, at in self._keys}, reverse=direction is Direction.DOWN)
        encoded = {at for (_, at), key in self._keys.items() if self._follower.forgets or not key.certain}
        for turn, position in enumerate(positions):
            known = {number: key for (number, at), key in self._keys.items() if at == position}
            shown = Shown(self._slices, position, [at for at in positions[turn + 1 :] if at in encoded])
            answers = self._guarded(partial(self._follower.learn, shown, known, direction), position)
            fresh = {number: key for number, key in known.items() if (number, position) not in self._masks}
            given = [self._noted(shown, number, key, answers, direction) for number, key in fresh.items()]
            found = [grown for grown in given if isinstance(grown, Grown)]
            yield from found
            if not found:
                yield Passed(position)

    def _noted(
        self, shown: Shown, number: int, key: Key, answers: Mapping[int, Prediction], direction: Direction
    ) -> Grown | Passed:
        at = number, key.position
        if key.certain and key.prompts.mask is not None:
            self._masks[at] = key.prompts.mask.pixels
        else:
            self._masks[at] = np.array(answers[number].mask)
            self._logits[at] = self._handed_on(answers[number])
        mask = self._masks[at]
        if mask.any() and self._looked_at(at):
            self._looks[at] = Look.of(self._guarded(shown.pixels, key.position), mask)
        if key.certain or not mask.any():
            return Passed(key.position)
        answer = answers[number]
        return Grown(number, key.position, mask, answer.score, key.position, direction, answer.note)

    def _looked_at(self, at: tuple[int, int]) -> bool:
        return any((leg.number, leg.source) == at and leg.positions and self._rules(leg).looks for leg in self._legs)

    # -- legs --------------------------------------------------------------------------------------------------

    def _sweep(self, direction: Direction) -> Iterator[Steps]:
        """Walk all legs of a direction together; each step is a slice, and is done before the next is asked for."""
        tracks = []
        for leg in self._legs:
            if leg.direction is direction:
                if leg.positions and self._known(leg):
                    tracks.append(self._track(leg))
                else:
                    yield iter((self._ended_at_once(leg),))
        reached = {position for track in tracks for position in track.leg.positions}
        positions = sorted(reached, reverse=direction is Direction.DOWN)
        for turn, position in enumerate(positions):
            here = {t.leg.number: t for t in tracks if not t.done and position in t.leg.positions}
            if here:
                alive = [t.leg.positions for t in tracks if not t.done]
                ahead = [at for at in positions[turn + 1 : turn + 1 + MOST_AHEAD] if any(at in leg for leg in alive)]
                yield self._step(Shown(self._slices, position, ahead), here)

    def _step(self, shown: Shown, tracks: Mapping[int, Track]) -> Iterator[Grown | Ended | Passed]:
        answers = self._guarded(partial(self._follower.follow, shown, tracks), shown.position)
        given: list[Grown | Ended] = []
        for number, track in tracks.items():
            given += self._judged(shown, track, answers[number])
        yield from given
        if not given:
            yield Passed(shown.position)

    def _judged(self, shown: Shown, track: Track, answer: Prediction) -> Iterator[Grown | Ended]:
        leg, mask = track.leg, np.array(answer.mask)  # a copy, so that the other candidates are let go
        broken = self._guarded(partial(track.watch.judge, mask, answer.score, shown.pixels), shown.position)
        if broken:
            track.done = True
            yield _ended(track, broken[0])
            return
        track.lost = not mask.any()
        if not track.lost:
            track.take(shown.position, mask, self._handed_on(answer))
            yield Grown(leg.number, shown.position, mask, answer.score, leg.source, leg.direction, answer.note)
        if shown.position == leg.positions[-1]:
            track.done = True
            yield _ended(track, _end_of(leg, self._plan.way))

    def _known(self, leg: Leg) -> bool:
        """Whether there is a mask to start from; where shapes are interpolated, on both sides."""
        needed = (leg.source, *(leg.towards if self._plan.way is Way.SHAPES else ()))
        return all(self._masks[leg.number, at].any() for at in needed)

    def _track(self, leg: Leg) -> Track:
        at = leg.number, leg.source
        start = self._masks[at]
        goal = self._masks[leg.number, leg.towards[0]] if leg.towards else np.zeros_like(start)
        looks = (self._looks[at],) if at in self._looks else ()
        rules = self._rules(leg)
        watch = Watch(rules, self._plan.pitch, start, looks if rules.looks else ())
        return Track(leg, self._keys[at], start, goal, watch, self._logits.get(at))

    def _handed_on(self, answer: Prediction) -> Logits | None:
        """The logits of an answer's mask, copied so that those of the others are let go; None where of no use."""
        if not (answer.logits and self._plan.prompting.hands_on):
            return None
        chosen = answer.logits[answer.chosen]
        return replace(chosen, values=np.array(chosen.values))

    def _rules(self, leg: Leg) -> StopRules:
        """The rules of a leg: a box and a shape are the user's own word, and so is the object between two keys."""
        plan = self._plan
        if plan.way in (Way.BOX, Way.SHAPES):
            return StopRules.none()
        rules = plan.rules.within() if leg.towards else plan.rules
        if plan.way is Way.SLICES and plan.prompting.falls_back:
            rules = replace(rules, empty=0)
        return rules

    def _ended_at_once(self, leg: Leg) -> Ended:
        at = leg.number, leg.source
        why = _end_of(leg, self._plan.way) if self._known(leg) else Why.NOTHING
        bare_key = not self._keys[at].certain and not self._masks[at].any()
        left = len(leg.positions) + (bare_key and leg.direction is Direction.UP)
        return Ended(leg.number, leg.source, leg.direction, leg.source, why, left)

    def _guarded(self, act: Callable[[], Value], position: int) -> Value:
        """Do something with a slice; whatever is raised becomes an error of our own."""
        try:
            return act()
        except MedsamError:
            raise
        except Exception as error:
            failure = explained(error, self._model, f"slice {position}")
            raise failure from failure.__cause__


def _in_turn(ways: Iterable[Iterator[Steps]]) -> Iterator[Steps]:
    """The steps of several ways, one of each at a time; of those that are left when others have ended."""
    left = list(ways)
    while left:
        for way in tuple(left):
            step = next(way, None)
            if step is None:
                left.remove(way)
            else:
                yield step


def _ended(track: Track, why: Why) -> Ended:
    leg = track.leg
    return Ended(leg.number, track.last, leg.direction, leg.source, why, len(leg.positions) - track.found)


def _end_of(leg: Leg, way: Way) -> Why:
    """What ends a leg when nothing else does."""
    if way is Way.SHAPES and not leg.towards:
        return Why.NO_KEY_BEYOND
    if leg.halted:
        return Why.STOP_HERE
    return Why.MET if leg.towards else Why.RANGE
