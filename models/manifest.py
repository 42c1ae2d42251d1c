"""``manifest.yaml``: the part of a bundle that people read and edit."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.compared import Cost, SliceEntry, ToleranceEntry, check_costs, check_slices
from service.domain.evidence.redaction import Rule
from service.domain.expectations import Expectation, Expectations, Reaction
from service.domain.schema import Binding, Feature, FeatureType, Layout, ModelSpec, Schema, Task
from service.domain.uncertainty.measure import LEAST_CONFIDENCE, MOST_CONFIDENCE
from service.errors import BundleError

MANIFEST_NAME = "manifest.yaml"
FORMAT: Literal[1] = 1

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
"""A model-store name or version: lower-case letters, digits, '.', '_' and '-'."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpectEntry(_Part):
    """What callers are expected to send, beyond what the model can take; packaging fills in what is absent.

    It is what training saw; edit it where that was not all that is usual.
    """

    range: tuple[float, float] | None = None
    """Least and greatest usual number, in place of the feature's ``range``."""
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The usual words; all of them if absent."""
    missing_rate: float | None = Field(default=None, ge=0, le=1)
    """The usual share of missing values; at 0 every missing value is unusual."""
    whole: bool | None = None
    """Whether the numbers of a ``float`` feature are usually whole."""
    on_violation: Reaction | None = None
    """What becomes of a row that breaks it; the manifest's ``expectations`` if absent."""


class FeatureEntry(_Part):
    """One input column in the caller's words."""

    name: str = Field(min_length=1, max_length=200)
    type: FeatureType
    categories: tuple[str, ...] = ()
    """The vocabulary; required for ``string`` features, refused for the others."""
    missing: Literal["allow", "refuse"] = "refuse"
    range: tuple[float, float] | None = None
    """Smallest and largest value seen in training; expected of callers too, see ``expect``."""
    expect: ExpectEntry = ExpectEntry()
    change: Literal["free", "fixed", "increase", "decrease"] = "free"
    """How a counterfactual explanation may change the value: at will, never, or in one direction."""
    redact: Rule = "keep"
    """What becomes of the value before a row is kept as evidence."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.type == "string") != bool(self.categories):
            raise ValueError(f"feature {self.name!r}: categories go with type string, and only there")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"feature {self.name!r}: a category is listed twice")
        if "" in self.categories:
            raise ValueError(f"feature {self.name!r}: the empty string stands for missing, not a category")
        if self.type == "int64" and self.missing == "allow":
            raise ValueError(f"feature {self.name!r}: int64 has no missing value; use float or refuse")
        if self.type == "string" and self.change in ("increase", "decrease"):
            raise ValueError(f"feature {self.name!r}: categories have no order to {self.change} in")
        self._check_expectation()
        return self

    def _check_expectation(self) -> None:
        expect, word = self.expect, self.type == "string"
        for name, pair in (("range", self.range), ("expect.range", expect.range)):
            if pair is not None:
                if word:
                    raise ValueError(f"feature {self.name!r}: {name} goes with numbers, not with strings")
                _check_range(f"feature {self.name!r}: {name}", pair)
        if not set(expect.categories or ()) <= set(self.categories):
            raise ValueError(f"feature {self.name!r}: expect.categories names a word that is no category")
        if expect.missing_rate is not None and self.missing == "refuse":
            raise ValueError(f"feature {self.name!r}: expect.missing_rate goes with missing: allow")
        if expect.whole is not None and self.type != "float":
            raise ValueError(f"feature {self.name!r}: expect.whole goes with type float")

    def expected(self, otherwise: Reaction) -> Expectation:
        """The expectation; ``otherwise`` is what becomes of rows where the feature does not say so."""
        expect = self.expect
        return Expectation(
            expect.on_violation or otherwise,
            expect.range or self.range,
            expect.categories,
            expect.missing_rate,
            bool(expect.whole),
        )


class InputEntry(_Part):
    """How canonical rows enter the graph (see ``service.domain.schema.Schema.layout``)."""

    layout: Layout
    name: str | None = None
    """The graph's input; only for ``tensor`` and ``image`` (``columns`` uses the feature names)."""
    shape: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """One row's tensor, for example [1, 8, 8]; only for ``image``."""
    range: tuple[float, float] | None = None
    """Smallest and largest pixel seen in training, expected of callers too; only for ``image``."""
    redact: Rule = "keep"
    """What becomes of the pixels before a row is kept as evidence; only for ``image``."""


class OutputEntry(_Part):
    """The one graph output that is served."""

    name: str
    kind: Literal["probabilities", "positive_probability", "value"]


class Parity(_Part):
    """|served - trained| <= absolute + relative * |trained|, for every output of every golden row."""

    absolute: float = Field(default=1e-5, ge=0)
    relative: float = Field(default=1e-5, ge=0)


class UncertaintyEntry(_Part):
    """How sure the model's answers are said to be; ``auto`` takes what did best at packaging."""

    confidence: float = Field(default=0.9, ge=LEAST_CONFIDENCE, le=MOST_CONFIDENCE)
    """Of label sets and intervals whose caller names none."""
    region: str = "auto"
    """The measure that gives label sets or intervals; see ``service.domain.uncertainty.registry``."""
    probability: str = "auto"
    """The measure that calibrates probabilities."""
    domain: str = "auto"
    """The measure that says whether the training data had such rows."""
    in_domain_percentile: float = Field(default=99.0, gt=0, lt=100)
    """Rows stranger than this share of the calibration rows are out of domain."""
    passes: int = Field(default=0, ge=0, le=1000)
    """Stochastic passes through a graph of members with live dropout, 2 or more; 0 where it has none."""
    abstain: tuple[Literal["ambiguous", "out_of_domain"], ...] = ()
    """When no label is answered: where the set holds not exactly one, where the row is out of domain."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.abstain)) != len(self.abstain):
            raise ValueError("abstain: a reason is listed twice")
        if self.passes == 1:
            raise ValueError("passes: one pass has no other to differ from; give 2 or more")
        return self


class Training(_Part):
    """Who made the model, when, with what, and how good it was."""

    author: str = "unknown"
    at: datetime | None = None
    framework: str = "unknown"
    data: str = "unknown"
    rows: int | None = None
    metrics: dict[str, float] = {}
    """Measured on rows not used in training, for example {"auc": 0.83}."""
    baseline: dict[str, float] = {}
    """The same metrics for a model that ignores its inputs."""
    notes: str = ""


class Manifest(_Part):
    """A bundle's description; ``digests`` covers every other file of the bundle."""

    format: Literal[1] = FORMAT
    name: Name
    version: Name
    task: Task
    features: tuple[FeatureEntry, ...] = ()
    input: InputEntry
    output: OutputEntry
    classes: tuple[str, ...] = ()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    slices: tuple[SliceEntry, ...] = ()
    parity: Parity = Parity()
    tolerance: ToleranceEntry | None = None
    """How far another model's scores may be from this one's and still be the same answer; None leaves it to
    ``models.pair``."""
    costs: dict[str, dict[str, Cost]] = {}
    """True class to answered class to what that costs, in any unit; a right answer costs nothing unless
    it is said. Empty where all mistakes are alike."""
    expectations: Reaction = "warn"
    """What becomes of a row that is unlike training's, where its feature's ``expect`` does not say."""
    uncertainty: UncertaintyEntry = UncertaintyEntry()
    training: Training = Training()
    digests: dict[str, str] = {}
    """File name to ``sha256:<hex>``."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wanted = {"binary": "exactly 2", "multiclass": "3 or more", "regression": "no"}[self.task]
        found = len(self.classes)
        if not {"binary": found == 2, "multiclass": found >= 3, "regression": found == 0}[self.task]:
            raise ValueError(f"classes: a {self.task} model has {wanted} classes, found {found}")
        if (self.task == "regression") != (self.output.kind == "value"):
            raise ValueError("output.kind: 'value' goes with task regression, and only there")
        if self.task == "multiclass" and self.output.kind == "positive_probability":
            raise ValueError("output.kind: 'positive_probability' goes with task binary only")
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("features: a name is listed twice")
        self._check_input()
        if self.task == "regression" and "ambiguous" in self.uncertainty.abstain:
            raise ValueError("uncertainty.abstain: a regression has no set of labels that could be ambiguous")
        check_slices(self.slices, self.spec.schema)
        check_costs(self.costs, self.classes)
        return self

    def _check_input(self) -> None:
        if self.input.layout == "image":
            if not self.input.shape or self.features:
                raise ValueError("input: an image has a shape and no named features")
        elif self.input.shape or not self.features:
            raise ValueError("input: a tabular model has named features and no shape")
        if self.input.range is not None:
            if self.input.layout != "image":
                raise ValueError("input.range: only for an image; a feature has its own range")
            _check_range("input.range", self.input.range)
        if self.input.redact != "keep" and self.input.layout != "image":
            raise ValueError("input.redact: only for an image; a feature has its own redact")
        if (self.input.layout == "columns") != (self.input.name is None):
            raise ValueError("input.name: required for tensor and image, not for columns")

    @property
    def spec(self) -> ModelSpec:
        features = tuple(
            Feature(entry.name, entry.type, entry.categories, entry.missing == "allow")
            for entry in self.features
        )
        schema = Schema(features, self.input.layout, self.input.shape)
        return ModelSpec(self.name, self.version, self.task, schema, self.classes, self.threshold)

    @property
    def expected(self) -> Expectations:
        """What training saw, as rows are held against it."""
        if self.input.layout == "image":
            return (Expectation(self.expectations, self.input.range),)
        return tuple(entry.expected(self.expectations) for entry in self.features)

    @property
    def binding(self) -> Binding:
        inputs = self.input.name
        names = (inputs,) if inputs is not None else tuple(entry.name for entry in self.features)
        return Binding(names, self.output.name, self.output.kind)


def _check_range(place: str, pair: tuple[float, float]) -> None:
    if not (math.isfinite(pair[0]) and math.isfinite(pair[1]) and pair[0] <= pair[1]):
        raise ValueError(f"{place}: expected two numbers, the smaller one first, found {list(pair)}")


class _Loader(yaml.SafeLoader):
    """YAML whose only booleans are true and false: a category called yes or no stays a word.

    A key that is there twice is refused: the last one alone would count, and nobody would notice.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((key for key in own if key[1] != "<<" and own.count(key) > 1), None):
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[1]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:bool"]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def read_yaml(path: Path) -> Any:
    """What a YAML file says, with yes, no, on and off as words.

    Raises:
        OSError, UnicodeDecodeError, yaml.YAMLError: it cannot be read; in one line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise yaml.YAMLError(" ".join(str(error).split())) from error


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``.

    Raises:
        BundleError: the file is absent, is not YAML, or breaks a rule above; says which.
    """
    try:
        document = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{path}: cannot be read as a manifest: {error}") from error
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise BundleError(f"{path}: {_explain(error)}") from error


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes YAML that ``read_manifest`` reads back to an equal manifest."""
    document = _filled(manifest.model_dump(mode="json"))
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    path.write_text(text, encoding="utf-8")


def _filled(part: dict[str, Any]) -> dict[str, Any]:
    """The part without what is null or empty: people read this."""
    kept = {}
    for name, value in part.items():
        if isinstance(value, dict):
            value = _filled(value)
        elif isinstance(value, list):
            value = [_filled(item) if isinstance(item, dict) else item for item in value]
        if value not in (None, "", [], {}):
            kept[name] = value
    return kept


def _explain(error: ValidationError) -> str:
    """Every broken rule with the place it was broken at, on one line."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    places = [".".join(str(part) for part in item["loc"]) for item in found]
    return "; ".join(
        f"{place}: {item['msg']}" if place else item["msg"] for place, item in zip(places, found, strict=True)
    )
