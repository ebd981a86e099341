"""What can end a direction, in words for the user."""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """What ended a direction. The rules of `StopRules` come last, in the order in which they are asked."""

    RANGE = "end of the range"
    STOP_HERE = "stop here"
    MET = "met what comes from the next key"
    NO_KEY_BEYOND = "no key beyond"
    NOTHING = "nothing found on the key slice"
    EMPTY = "nothing found"
    GREW = "the area grew too fast"
    SHRANK = "the area shrank too fast"
    MOVED = "too little overlap"
    SCORE = "the score dropped"
    LOOK = "it looks different"
    CONTRAST = "it no longer stands out as it did"
