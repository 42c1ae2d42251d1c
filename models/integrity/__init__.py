"""The integrity gate: an explanation method is offered for a model only after it was caught telling no lies.

`certify` is the way in; every check is a function of a ``Trial`` that gives a ``Check``.
"""

from __future__ import annotations

from models.integrity.certify import certify
from models.integrity.records import Certificate, Check, MethodRecord

__all__ = ["Certificate", "Check", "MethodRecord", "certify"]
