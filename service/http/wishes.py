"""What callers may ask of an explanation: ``true``, or an object of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, get_args

from service.domain.explainers.document import Form, Wish
from service.domain.explainers.game import Ask, OutputKind
from service.domain.schema import ModelSpec
from service.http.codec import Headers
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit

MOST_NEIGHBOURS = 50
FEWEST_EVALS = 10
LONGEST_NAME = 60
"""Characters of a method's name; none is longer."""
PICTURES: dict[str, Form] = {"image/svg+xml": "svg", "image/png": "png", "text/html": "html"}
"""Media types that ``Accept`` may name beside JSON."""


@dataclass(frozen=True, slots=True)
class WishLimits:
    """The most that one request may ask for."""

    max_evals: int
    deadline: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class WishReader:
    """Reads ``explain`` of requests about one model."""

    spec: ModelSpec
    limits: WishLimits
    default_evals: int
    _defaults: dict[bool, Wish | None] = field(init=False)

    def __post_init__(self) -> None:
        plain = Wish(Ask(max_evals=self.default_evals))
        object.__setattr__(self, "_defaults", {True: plain, False: None})

    def read(self, value: Any, form: Form = "json") -> Wish | None:
        """The wish, or None where nothing is to be explained.

        Raises:
            Problem: 422, naming every option that is unknown or impossible.
        """
        if value is None or isinstance(value, bool):
            wish = self._defaults[bool(value)]
        elif isinstance(value, dict):
            wish = self._options(value)
        else:
            raise does_not_fit([_error((), "expected true, false or an object of options")])
        return wish._replace(form=form) if wish is not None and form != "json" else wish

    def _options(self, options: dict[str, Any]) -> Wish:
        checks: dict[str, Callable[[Any], str | None]] = {
            "method": lambda value: _text(value, LONGEST_NAME),
            "output": lambda value: _one_of(value, get_args(OutputKind)),
            "label": lambda value: _one_of(value, self.spec.classes),
            "top": lambda value: _whole(value, 1, 1_000_000),
            "max_evals": lambda value: _whole(value, FEWEST_EVALS, self.limits.max_evals),
            "deadline_ms": lambda value: _number(value, 1, self.limits.deadline * 1000),
            "neighbours": lambda value: _whole(value, 0, MOST_NEIGHBOURS),
            "seed": lambda value: _whole(value, 0, 2**32 - 1),
        }
        errors = []
        for name, value in islice(options.items(), TOO_MANY_ERRORS):  # so many cannot all be known
            if name not in checks:
                known = ", ".join(checks)
                errors.append(_error((name[:LONGEST_NAME],), f"unknown option; there are {known}"))
            elif value is not None and (wrong := checks[name](value)) is not None:
                errors.append(_error((name,), wrong))
        if errors:
            raise does_not_fit(errors)
        given = {name: value for name, value in options.items() if value is not None}
        label = given.get("label")
        ask = Ask(
            method=given.get("method", "auto"),
            output=given.get("output"),
            label=None if label is None else self.spec.classes.index(label),
            max_evals=given.get("max_evals", self.default_evals),
            seed=given.get("seed", 0),
        )
        deadline = given.get("deadline_ms")
        seconds = None if deadline is None else deadline / 1000
        return Wish(ask, given.get("top"), given.get("neighbours", 0), seconds)


def form_of(headers: Headers) -> Form:
    """How the caller wants explanations written; JSON unless ``Accept`` prefers a picture or a page.

    Raises:
        Problem: 406, nothing that is accepted can be made.
    """
    accept = headers.get(b"accept", b"*/*").decode("latin-1").lower()
    best: tuple[float, Form] | None = None
    for part in accept.split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        try:
            quality = float(weight)
        except ValueError:
            quality = 0.0
        form: Form | None = PICTURES.get(media_type)
        if media_type in ("application/json", "application/*", "*/*", "text/*", "image/*", ""):
            form = "html" if media_type == "text/*" else "svg" if media_type == "image/*" else "json"
        if form is not None and quality > 0 and (best is None or quality > best[0]):
            best = (quality, form)
    if best is None:
        offered = ", ".join(("application/json", *PICTURES))
        raise Problem(406, f"accept: explanations are written as {offered}")
    return best[1]


def _text(value: Any, longest: int) -> str | None:
    good = isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()
    return None if good else "expected a method's name"


def _one_of(value: Any, known: tuple[str, ...]) -> str | None:
    if isinstance(value, str) and value in known:
        return None
    return f"expected one of {', '.join(known[:20])}" if known else "this model has no classes"


def _whole(value: Any, least: int, most: int) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return None if good else f"expected a whole number from {least} to {most}"


def _number(value: Any, least: float, most: float) -> str | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
    return None if good else f"expected a number from {least:g} to {most:g}"


def _error(loc: tuple[str, ...], message: str) -> dict[str, Any]:
    return {"loc": ["explain", *loc], "msg": message}
