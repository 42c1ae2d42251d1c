"""What callers may ask about how sure an answer is: ``true``, or an object of options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from service.domain.uncertainty.measure import LEAST_CONFIDENCE, MOST_CONFIDENCE, Unfitting
from service.domain.uncertainty.quantifier import EXTRA, Doubt
from service.http.problem import TOO_MANY_ERRORS, does_not_fit

OPTIONS = ("confidence", "region", "probability", "domain", "include")
LONGEST_NAME = 60
"""Characters of a measure's name; none is longer."""
PLAIN = Doubt()


@dataclass(frozen=True, slots=True)
class DoubtReader:
    """Reads ``uncertainty`` of requests.

    Args:
        check: raises ``Unfitting`` for what the model cannot say.
        always: whether answers carry it where the request does not mention it.
    """

    check: Callable[[Doubt], None]
    always: bool = False

    def read(self, value: Any) -> Doubt | None:
        """What is wanted, or None where nothing is; null is as good as absent.

        Raises:
            Problem: 422, naming every option that is unknown or impossible.
        """
        if value is None:
            value = self.always
        if value is False:
            return None
        doubt = PLAIN if value is True else self._options(value)
        try:
            self.check(doubt)
        except Unfitting as error:
            option, _, why = str(error).partition(": ")
            wrong = _error((option,), why) if option in OPTIONS else _error((), str(error))
            raise does_not_fit([wrong]) from error
        return doubt

    def _options(self, options: Any) -> Doubt:
        if not isinstance(options, dict):
            raise does_not_fit([_error((), "expected true, false or an object of options")])
        checks: dict[str, Callable[[Any], str | None]] = {
            "confidence": _confidence,
            "region": _name,
            "probability": _name,
            "domain": _name,
            "include": _include,
        }
        errors = []
        for name, value in islice(options.items(), TOO_MANY_ERRORS):  # so many cannot all be known
            if name not in checks:
                errors.append(
                    _error((name[:LONGEST_NAME],), f"unknown option; there are {', '.join(OPTIONS)}")
                )
            elif value is not None and (wrong := checks[name](value)) is not None:
                errors.append(_error((name,), wrong))
        if errors:
            raise does_not_fit(errors)
        return Doubt(
            options.get("confidence"),
            options.get("region"),
            options.get("probability"),
            options.get("domain"),
            frozenset(options.get("include") or ()),
        )


def cannot(tag: str) -> Callable[[Doubt], None]:
    """A check that refuses everything, for a bundle without measures."""

    def check(_: Doubt) -> None:
        raise Unfitting(f"{tag} was packaged without measures of uncertainty")

    return check


def _confidence(value: Any) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    good = number and LEAST_CONFIDENCE <= value <= MOST_CONFIDENCE
    return None if good else f"expected a number from {LEAST_CONFIDENCE:g} to {MOST_CONFIDENCE:g}"


def _name(value: Any) -> str | None:
    return None if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else "expected a measure's name"


def _include(value: Any) -> str | None:
    good = isinstance(value, list) and all(isinstance(each, str) and each in EXTRA for each in value)
    return None if good else f"expected an array of {', '.join(EXTRA)}"


def _error(loc: tuple[str, ...], message: str) -> dict[str, Any]:
    return {"loc": ["uncertainty", *loc], "msg": message}
