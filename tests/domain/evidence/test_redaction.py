"""What is kept of a row's inputs: nothing that must not be, and the same hash for the same value."""

from __future__ import annotations

import hashlib
import hmac
import json

import numpy as np
import pytest

from service.domain.evidence.redaction import MOST_PIXELS, Rule, redaction, stricter
from service.domain.schema import Feature, Schema
from tests.domain.models import FEATURES

SCHEMA = Schema((*FEATURES, Feature("children", "int64")), "columns")
ROW = np.array([41.5, 1.0, np.nan, 3.0])
IMAGES = Schema((), "image", (1, 2, 2))


def test_values_are_kept_as_they_were_posted_where_nothing_is_said() -> None:
    found = redaction(SCHEMA, {})
    assert found.inputs(ROW) == {"age": 41.5, "home": "rent", "income": None, "children": 3}
    assert found.redacted == ()


def test_a_dropped_value_is_nowhere() -> None:
    found = redaction(SCHEMA, {"home": "drop", "age": "drop"})
    document = json.dumps(found.inputs(ROW))
    assert "rent" not in document
    assert "41.5" not in document
    assert found.redacted == ("age", "home")


def test_a_hash_is_the_documented_one_of_the_value_as_text() -> None:
    rules: dict[str, Rule] = dict.fromkeys(("age", "home", "income", "children"), "hash")
    found = redaction(SCHEMA, rules, b"secret").inputs(ROW)
    texts = {"age": "41.5", "home": "rent", "income": "null", "children": "3"}
    assert found == {
        name: "hash:" + hmac.new(b"secret", text.encode(), hashlib.sha256).hexdigest()[:16]
        for name, text in texts.items()
    }


def test_equal_values_have_equal_hashes_and_another_key_gives_others() -> None:
    one, other = (redaction(SCHEMA, {"home": "hash"}, key) for key in (b"a", b"b"))
    assert one.inputs(ROW)["home"] == one.inputs(ROW + 0.0)["home"]
    assert one.inputs(ROW)["home"] != one.inputs(ROW - np.array([0, 1, 0, 0]))["home"]
    assert one.inputs(ROW)["home"] != other.inputs(ROW)["home"]


def test_the_key_is_shown_to_nobody() -> None:
    assert "secret" not in repr(redaction(SCHEMA, {"age": "hash"}, b"secret"))


def test_a_hash_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="need a key"):
        redaction(SCHEMA, {"age": "hash"})


def test_a_rule_for_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'agee' is none of the columns age, home"):
        redaction(SCHEMA, {"agee": "drop"})


def test_an_image_is_kept_as_nested_lists_or_not_at_all() -> None:
    pixels = np.array([0.5, 0.25, 0.0, 1.0], np.float32)
    assert redaction(IMAGES, {}).inputs(pixels) == {"image": [[[0.5, 0.25], [0.0, 1.0]]]}
    dropped = redaction(IMAGES, {"image": "drop"})
    assert dropped.inputs(pixels) == {"image": "dropped"}
    assert dropped.redacted == ("image",)


def test_an_image_too_large_to_keep_is_dropped_whatever_the_rules_say() -> None:
    side = int(MOST_PIXELS**0.5)
    pixels = np.zeros(side * (side + 1), np.float32)
    large = redaction(Schema((), "image", (1, side, side + 1)), {"image": "hash"}, b"secret")
    assert large.inputs(pixels) == {"image": "dropped"}
    assert large.redacted == ("image",)
    fits = redaction(Schema((), "image", (1, side, side)), {})
    assert fits.inputs(pixels[: side * side])["image"] != "dropped"


@pytest.mark.parametrize(
    ("a", "b", "wins"),
    [("keep", "hash", "hash"), ("drop", "hash", "drop"), ("keep", "keep", "keep"), ("drop", "keep", "drop")],
)
def test_the_stricter_rule_wins(a: Rule, b: Rule, wins: Rule) -> None:
    assert stricter(a, b) == stricter(b, a) == wins


def test_what_a_redacted_column_contributes_is_not_kept_either() -> None:
    # of a linear model it is a weight times the value's distance from a mean: as good as the value
    told = {"method": "linear-exact", "base_value": 0.5, "values": {"age": 0.2, "home": -0.1, "income": 3.25}}
    found = redaction(SCHEMA, {"age": "hash", "income": "drop"}, b"secret").reasons(told)
    assert found == {**told, "values": {"home": -0.1}}
    assert redaction(SCHEMA, {}).reasons(told) == told


def test_the_regions_of_an_image_are_kept_unless_the_image_itself_must_not_be() -> None:
    told = {"method": "permutation", "values": {"rows 1-2, columns 1-2": 0.25}}
    assert redaction(IMAGES, {}).reasons(told) == told
    assert redaction(IMAGES, {"image": "drop"}).reasons(told) == {**told, "values": {}}
