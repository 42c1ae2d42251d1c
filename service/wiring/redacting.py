"""What becomes of each column before a row is kept, by the manifest and the configuration together."""

from __future__ import annotations

from models.bundle import Bundle
from service.adapters import bundles
from service.domain.evidence.redaction import Rule, stricter
from service.errors import ConfigurationError
from service.sections import EvidenceSettings


def redaction_rules(settings: EvidenceSettings, production: Bundle) -> dict[str, Rule]:
    """Each column's rule: the stricter of the two.

    Raises:
        ConfigurationError: the configuration names a column that the model does not have.
    """
    rules = bundles.redaction_of(production)
    for column, rule in settings.redact.items():
        if column not in rules:
            raise ConfigurationError(f"evidence.redact: {column!r} is none of the columns {', '.join(rules)}")
        rules[column] = stricter(rules[column], rule)
    return rules
