"""Regular expressions that mean the same to Python, which checks them here, and to whatever HAProxy was built with
(PCRE, PCRE2, the C library), and that none of them needs forever for. Pure.

Literals, ``.``, ``^``, ``$``, sets, groups, ``|``, repetitions. Escapes are for characters with a meaning, and
``\\d \\w \\s \\b`` with their opposites, of which the C library knows some. No references back, no looking around, no
options; and a group that has a repetition in it is not repeated, nor endlessly one that has a choice, since those are
what matchers that go back and try again never come to an end with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_TIMES = 255
"""What POSIX promises for ``{m,n}``."""
MOST_TIMES_OF_GROUPS = 20
"""Expressions of any length, which matchers write out so many times."""
DEEPEST = 10

_SPECIAL = r".^$*+?()[]{}|\/-"
_CLASSES = "dDwWsSbB"
_TIMES = re.compile(r"\{(\d{1,4})(?:(,)(\d{1,4})?)?\}")
# Of sets, some day in Python.
_OPERATORS = ("--", "&&", "||", "~~")
_MANY = "*+?{"


class _Wrong(Exception):
    """The message says what cannot be used."""


@dataclass(slots=True)
class _Group:
    """What was found in it so far."""

    branches: bool = False
    repeats: bool = False


def problem(text: str) -> str | None:
    """Why it cannot be used, None when it can."""
    if not re.fullmatch(r"[\t -~]+", text):
        return "it must be ASCII without control characters"
    try:
        _Reader(text).read()
        re.compile(text)
    except _Wrong as wrong:
        return str(wrong)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> None:
        self._alternatives(0)
        if self._at < len(self._text):
            raise _Wrong("a ) has no (")

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        taken = self._next()
        self._at += 1
        return taken

    def _alternatives(self, depth: int) -> _Group:
        if depth > DEEPEST:
            raise _Wrong(f"groups are at most {DEEPEST} deep")
        found = _Group()
        self._sequence(found, depth)
        while self._next() == "|":
            self._take()
            found.branches = True
            self._sequence(found, depth)
        return found

    def _sequence(self, found: _Group, depth: int) -> None:
        start = self._at
        while self._next() not in ("", "|", ")"):
            self._piece(found, depth)
        if self._at == start:
            raise _Wrong("an empty alternative or group cannot be used")

    def _piece(self, found: _Group, depth: int) -> None:
        taken = self._take()
        inside: _Group | None = None
        can_repeat = True
        if taken == "(":
            inside = self._group(depth)
        elif taken == "[":
            self._set()
        elif taken == "\\":
            can_repeat = self._escape(_CLASSES) not in ("b", "B")
        elif taken in "^$":
            can_repeat = False
        elif taken in "*+?{}]":
            raise _Wrong(f"{taken} must be written \\{taken} unless it is part of a repetition or a set")
        if self._next() in _MANY and self._next():
            if not can_repeat:
                raise _Wrong("^, $ and \\b cannot be repeated")
            self._check_repeated(inside, self._repetition())
            found.repeats = True
        if inside is not None:
            found.branches |= inside.branches
            found.repeats |= inside.repeats

    @staticmethod
    def _check_repeated(inside: _Group | None, most: int | None) -> None:
        """`inside`: the group that is repeated, if it is one; `most`: how often, None for no end."""
        if inside is None or most == 1:
            return
        if inside.repeats:
            raise _Wrong("a group with a repetition in it cannot be repeated, only be optional")
        if inside.branches and most is None:
            raise _Wrong("a group with a | in it cannot be repeated without an end")
        if most is not None and most > MOST_TIMES_OF_GROUPS:
            raise _Wrong(f"a group is repeated {MOST_TIMES_OF_GROUPS} times at most, or without an end")

    def _group(self, depth: int) -> _Group:
        if self._next() == "?":
            if not self._text.startswith("?:", self._at):
                raise _Wrong("of the groups that begin with (? only (?: can be used")
            self._at += 2
        inside = self._alternatives(depth + 1)
        if self._take() != ")":
            raise _Wrong("a ( has no )")
        return inside

    def _escape(self, letters: str) -> str:
        taken = self._take()
        if not taken or taken not in _SPECIAL + letters:
            raise _Wrong(f"\\ can be followed by one of {_SPECIAL} and by {' '.join(letters)}")
        return taken

    def _repetition(self) -> int | None:
        """How often at most; None: without an end."""
        most: int | None
        if self._next() == "{":
            times = _TIMES.match(self._text, self._at)
            if times is None:
                raise _Wrong("{ must be written \\{ unless it is a repetition {m}, {m,} or {m,n}")
            least = int(times[1])
            most = least if times[2] is None else int(times[3]) if times[3] else None
            if not least <= (MOST_TIMES if most is None else most) <= MOST_TIMES or most == 0:
                raise _Wrong(f"a repetition {{m,n}} has m at most n, and n from 1 to {MOST_TIMES}")
            self._at = times.end()
        else:
            most = 1 if self._take() == "?" else None
        if self._next() == "?":
            self._take()
        if self._next() and self._next() in _MANY:
            raise _Wrong("a repetition cannot be repeated")
        return most

    def _set(self) -> None:
        if self._next() == "^":
            self._take()
        if self._next() == "]":
            raise _Wrong("] in a set must be written \\]")
        if self._next() and self._next() in ":=.":
            raise _Wrong("a set cannot begin with :, = or a dot")
        while self._next() != "]":
            if self._text[self._at : self._at + 2] in _OPERATORS:
                raise _Wrong(f"{' '.join(_OPERATORS)} cannot be used in a set")
            first = self._one_of_set()
            if self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take()
                last = self._one_of_set()
                if first is None or last is None or first > last:
                    raise _Wrong("a range in a set goes from a character to a later one")
        self._take()

    def _one_of_set(self) -> str | None:
        """None: a class of characters."""
        taken = self._take()
        if not taken:
            raise _Wrong("a [ has no ]")
        if taken == "[":
            raise _Wrong("[ in a set must be written \\[")
        if taken != "\\":
            return taken
        escaped = self._escape("dws")
        return None if escaped in "dws" else escaped
