"""What becomes of each column before a row is kept, by the manifest and the configuration together."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping

from models.bundle import Bundle
from service.adapters import bundles
from service.domain.evidence.redaction import Rule, stricter
from service.errors import ConfigurationError
from service.sections import EvidenceSettings
from service.settings import Environment

log = logging.getLogger("understudy.evidence")


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


def redaction_key(environment: Environment, rules: Mapping[str, Rule]) -> bytes:
    """The key of hashes; where none is given, one that ends with this process, which is said."""
    if environment.redact_key:
        return environment.redact_key.encode()
    if "hash" in rules.values():
        log.warning(
            "UNDERSTUDY_REDACT_KEY is not set: hashes of redacted values do not match those of other "
            "processes, nor earlier ones"
        )
    return secrets.token_bytes(32)
