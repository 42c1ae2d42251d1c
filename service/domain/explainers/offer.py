"""Which methods can explain one model, and which of them answers when the caller does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from service.domain.explainers.game import Ask, Explainer, Explanation, Method, Subject, Unsuitable
from service.domain.schema import FeatureBatch

AUTO = ("tree-exact", "linear-exact", "exhaustive", "integrated-gradients", "permutation")
"""The order of preference: exact before sampled. Gradients only serve images here, see ``Offer.chosen``."""


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """The methods that are ready to explain one model."""

    subject: Subject
    methods: Mapping[str, Method]
    explainers: Mapping[str, Explainer]
    """By name; the same names as ``methods``."""
    refused: Mapping[str, str]
    """Method name to why it cannot serve this model."""

    def chosen(self, ask: Ask) -> str:
        """The method that answers ``ask``, as far as its name decides.

        Raises:
            Unsuitable: the method that is asked for is unknown, or refused this model.
        """
        if ask.method != "auto":
            if ask.method in self.explainers:
                return ask.method
            reason = self.refused.get(ask.method)
            if reason is not None:
                raise Unsuitable(f"{ask.method} cannot explain {self.subject.spec.tag}: {reason}")
            known = ", ".join(sorted({"auto", *self.explainers, *self.refused}))
            raise Unsuitable(f"there is no method {ask.method!r}; there are {known}")
        for name in self._preferred():
            return name
        raise Unsuitable(f"no method that divides a score can explain {self.subject.spec.tag}")

    def explain(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """One explanation for each row.

        ``auto`` passes over a method that cannot explain the output that is asked for.

        Raises:
            Unsuitable: nothing here can explain that.
            DeadlineError: there was no time.
        """
        if ask.method != "auto":
            return self.explainers[self.chosen(ask)](rows, ask, due)
        last: Unsuitable | None = None
        for name in self._preferred():
            try:
                return self.explainers[name](rows, ask, due)
            except Unsuitable as error:
                last = error
        raise last or Unsuitable(f"no method that divides a score can explain {self.subject.spec.tag}")

    def _preferred(self) -> Iterable[str]:
        image = self.subject.spec.schema.layout == "image"
        for name in AUTO:
            if name in self.explainers and (image or name != "integrated-gradients"):
                yield name


def offer(
    subject: Subject,
    methods: Iterable[Method],
    forbidden: Mapping[str, str] | None = None,
    broken: Callable[[str, Exception], None] | None = None,
) -> Offer:
    """Prepares every method that can explain ``subject``.

    Where several methods share a name, the first that can is taken.

    Args:
        subject: the model.
        methods: all that are known.
        forbidden: methods that must not be offered, with the reason, though they could.
        broken: told of a method that fails for any other reason than that it is unsuitable, and how; the
            others are offered all the same. Without it such a failure is raised.
    """
    found: dict[str, Method] = {}
    explainers: dict[str, Explainer] = {}
    refused: dict[str, str] = {}
    for method in methods:
        if method.name in explainers:
            continue
        if forbidden and method.name in forbidden:
            refused[method.name] = forbidden[method.name]
            continue
        try:
            explainers[method.name] = method.build(subject)
        except Unsuitable as error:
            first = refused.get(method.name)
            refused[method.name] = f"{first}; {error}" if first else str(error)
        except Exception as error:  # a bug, or a graph like no other
            if broken is None:
                raise
            broken(method.name, error)
            refused[method.name] = f"it fails on this model: {error!r}"
        else:
            found[method.name] = method
            refused.pop(method.name, None)
    return Offer(subject, found, explainers, refused)
