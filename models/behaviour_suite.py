"""``behaviour.yaml``: what a model must do whatever its accuracy, in the words of those who know the subject.

Three kinds of check, after Ribeiro et al. 2020 (Beyond Accuracy: Behavioral Testing of NLP Models with
CheckList): ``invariance``, a change that must not matter; ``directional``, a change that must not push an
answer the wrong way; ``minimum_functionality``, rows whose answer is known without any label.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from models.manifest import read_yaml
from service.errors import BundleError

LARGEST_FILE = 2**20
"""Bytes of a suite."""
MOST_CHECKS, MOST_INSTANCES, MOST_VALUES = 200, 1000, 64
MOST_SAMPLED = 1000
"""As many reference rows as a bundle keeps."""

Value: TypeAlias = StrictStr | StrictInt | StrictFloat | None
"""A cell as a caller would post it; null is missing."""
Range: TypeAlias = tuple[FiniteFloat | None, FiniteFloat | None]
"""Least and greatest, both allowed; null where there is no such end."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowsEntry(_Part):
    """The rows of a check: reference rows, or instances written out."""

    sample: int = Field(default=500, gt=0, le=MOST_SAMPLED)
    """Reference rows, drawn without replacement; all of them where there are fewer."""
    seed: int = Field(default=0, ge=0)
    """Of the sample, and of noise."""
    where: str | None = None
    """Only reference rows for which this holds, for example ``Age < 25 and Home in ('rent', 'other')``."""
    instances: tuple[dict[str, Value], ...] = Field(default=(), min_length=1, max_length=MOST_INSTANCES)
    """In place of reference rows, by feature name; an absent feature is missing."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.instances and self.model_fields_set & {"sample", "where"}:
            raise ValueError("instances are taken as they are; sample and where choose reference rows")
        return self


class ChangeEntry(_Part):
    """How one column is changed, in exactly one of these ways.

    A change is made only where it gives another value, and one that callers may send: ``add`` and ``times``
    leave alone what would leave the manifest's range, and what is missing.
    """

    to: Annotated[
        tuple[Value, ...],
        Field(min_length=1, max_length=MOST_VALUES),
        BeforeValidator(lambda given: given if isinstance(given, list) else [given]),
    ] = ()
    """A value, or several that are tried one after the other."""
    others: Literal[True] | None = None
    """Every other category, one after the other."""
    add: FiniteFloat | None = None
    times: FiniteFloat | None = None
    """Whole numbers stay whole: the product is rounded."""
    shift: tuple[StrictInt, StrictInt] | None = None
    """Pixels only: rows down and columns to the right; what moves in repeats the edge."""
    flip: Literal["horizontal", "vertical"] | None = None
    """Pixels only."""
    noise: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Pixels only: standard deviation of normal noise."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = ", ".join(type(self).model_fields)
        if len(self.model_fields_set) != 1 or (self.way != "to" and getattr(self, self.way) is None):
            raise ValueError(f"expected exactly one of {ways}")
        return self

    @property
    def way(self) -> str:
        """The name of the one field that is set."""
        return next(iter(self.model_fields_set))


class ExpectEntry(_Part):
    """What is answered to a row, in exactly one of these ways."""

    label: str | None = None
    probability: Annotated[dict[str, Range], Field(min_length=1)] | None = None
    """By class."""
    value: Range | None = None
    """Of a regression."""

    @field_validator("probability", "value")
    @classmethod
    def _ordered(cls, given: Mapping[str, Range] | Range | None) -> Mapping[str, Range] | Range | None:
        pairs = given.values() if isinstance(given, Mapping) else [given] if given is not None else []
        for low, high in pairs:
            if (low is None and high is None) or (low is not None and high is not None and low > high):
                raise ValueError("expected two numbers, the smaller one first; null leaves an end open")
        return given

    @field_validator("probability")
    @classmethod
    def _shares(cls, given: Mapping[str, Range] | None) -> Mapping[str, Range] | None:
        ends = [end for pair in (given or {}).values() for end in pair if end is not None]
        if any(not 0 <= end <= 1 for end in ends):  # in percent every answer would be within them, or none
            raise ValueError("expected probabilities from 0 to 1")
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(getattr(self, name) is not None for name in type(self).model_fields) != 1:
            raise ValueError("expected exactly one of label, probability, value")
        return self


class _Check(_Part):
    name: str = Field(min_length=1, max_length=120)
    """What the model promises, as a sentence."""
    severity: Literal["error", "warn"] = "error"
    """Whether a model that fails is refused, or only spoken of."""
    on: RowsEntry = RowsEntry()
    at_least: float = Field(default=1.0, gt=0, le=1)
    """Share of rows that must pass; a row passes if every change of it does."""

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable() or name != name.strip():
            raise ValueError("expected printable characters on one line")
        return name


_Changes: TypeAlias = Annotated[dict[str, ChangeEntry], Field(min_length=1)]
"""By feature name, or ``pixels``; several are changed together, in every combination of their values."""


class Invariance(_Check):
    """A change that must not matter."""

    kind: Literal["invariance"]
    change: _Changes
    within: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """How far any probability, or the value, may move; absent, it may where the label stays the same."""
    same_label: bool = True
    """Whether the label must stay the same, of classes; false only where ``within`` says what must."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.within is None and not self.same_label:
            raise ValueError("same_label: false asks nothing without within")
        return self


class Directional(_Check):
    """A change that must not push the answer one way."""

    kind: Literal["directional"]
    change: _Changes
    output: str | None = None
    """The class whose probability counts; of two classes the second if absent. None for a regression."""
    must_not: Literal["rise", "fall"]
    within: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """How far it may all the same."""


class MinimumFunctionality(_Check):
    """Rows whose answer is known."""

    kind: Literal["minimum_functionality"]
    expect: ExpectEntry


Check: TypeAlias = Invariance | Directional | MinimumFunctionality


class Suite(_Part):
    """Every check of a model."""

    checks: Annotated[
        tuple[Annotated[Check, Field(discriminator="kind")], ...],
        Field(min_length=1, max_length=MOST_CHECKS),
    ]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [check.name for check in self.checks]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"checks: {twice!r} is there twice")
        return self


def read_suite(path: Path) -> Suite:
    """The suite at ``path``.

    Raises:
        BundleError: the file is absent, too large, no YAML, or breaks a rule above; names the check and the
            key.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BundleError(f"{path}: larger than the {LARGEST_FILE:,} bytes of a behavioural suite")
        document = read_yaml(path)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BundleError(f"{path}: cannot be read as a behavioural suite: {error}") from error
    try:
        return Suite.model_validate(document)
    except ValidationError as error:
        raise BundleError(f"{path}: {_explain(error, document)}") from error


def _explain(error: ValidationError, document: Any) -> str:
    """Every broken rule on one line, after the name of its check and the key."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(len(item["loc"]) > 1 for item in found):  # checks that are mistaken are not missing as well
        found = [item for item in found if (item["loc"], item["type"]) != (("checks",), "too_short")]
    return "; ".join(": ".join(filter(None, (*_place(item["loc"], document), item["msg"]))) for item in found)


def _place(loc: tuple[int | str, ...], document: Any) -> tuple[str, str]:
    """Whose rule it is, and the key: ("check 'age does not matter'", "change.Age.add")."""
    if len(loc) < 2 or loc[0] != "checks":
        return "", ".".join(map(str, loc))
    number = loc[1]
    check = document["checks"][number]
    name = check.get("name") if isinstance(check, dict) else None
    rest = loc[3:] if len(loc) > 2 and isinstance(check, dict) and loc[2] == check.get("kind") else loc[2:]
    known = isinstance(name, str) and name.isprintable()
    return f"check {name!r}" if known else f"check {number}", ".".join(map(str, rest))
