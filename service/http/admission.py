"""What can be refused before a body is understood, and how failures are told to callers."""

from __future__ import annotations

import hmac

from service.domain.explainers.game import Unsuitable
from service.domain.observation import Arm
from service.errors import (
    BusyError,
    DeadlineError,
    ExplanationError,
    InferenceError,
    LateError,
    TooMuchError,
)
from service.http.codec import Headers
from service.http.edge import Edge, Route
from service.http.problem import Problem, overloaded
from service.paths.explain import ExplainPath
from service.paths.predict import PredictPath


def admit(edge: Edge, route: Route, headers: Headers) -> tuple[PredictPath, Arm | None]:
    """The path to ask, and the arm that an operator chose.

    Raises:
        Problem: the service is not ready, the body is of no readable type or said to be too large, or
            an admin route is asked or an arm chosen by somebody who may not.
    """
    path = edge.path
    if path is None:
        raise not_ready(edge)
    if route.admin:
        _check_token(edge, headers, route.template)
    content_type = headers.get(b"content-type", b"")
    if content_type not in route.content_types:
        _check_type(route, content_type)
    if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
        raise Problem(415, "content-encoding: compressed bodies are not read")
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > edge.limits.max_body_bytes:
        raise too_large(edge)
    return path, _chosen_arm(edge, path, headers) if b"x-model-arm" in headers else None


def explaining(edge: Edge) -> ExplainPath:
    """The path of explanations; raises ``Problem`` where nothing can be explained."""
    if edge.explain is None:
        raise not_ready(edge)
    return edge.explain


def not_ready(edge: Edge) -> Problem:
    """503 with the reason."""
    return overloaded(f"not ready: {edge.unfit}", retry_after=30)


def too_large(edge: Edge) -> Problem:
    """413 with the limit."""
    return Problem(413, f"the body is larger than {edge.limits.max_body_bytes} bytes")


def problem_of(error: Exception) -> Problem:
    """What the caller is told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Unsuitable):
        return Problem(422, f"explain: {error}", [{"loc": ["explain"], "msg": str(error)}])
    if isinstance(error, TooMuchError):
        return Problem(413, str(error))
    if isinstance(error, BusyError):
        return overloaded(str(error))
    if isinstance(error, DeadlineError):
        return Problem(504, "the model did not answer before the deadline")
    if isinstance(error, LateError):
        return Problem(504, str(error))
    if isinstance(error, InferenceError):
        return Problem(500, "the model failed on this input")
    if isinstance(error, ExplanationError):
        return Problem(500, "the explanation failed")
    return Problem(500, "unexpected error; the log has the details under this request's id")


def _check_type(route: Route, content_type: bytes) -> None:
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type not in route.content_types:
        accepted = ", ".join(sorted(name.decode() for name in route.content_types if name))
        found = content_type.decode("latin-1")[:100]
        raise Problem(415, f"content-type: expected {accepted}, found {found}")


def _check_token(edge: Edge, headers: Headers, what: str) -> None:
    """Raises ``Problem`` unless the request has the admin bearer token; ``what`` needs it."""
    if edge.admin_token is None:
        raise Problem(403, f"{what}: no admin token is configured, so nobody may use it")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        challenge = ((b"www-authenticate", b"Bearer"),)
        raise Problem(401, f"{what}: needs the admin bearer token", headers=challenge)
    if not hmac.compare_digest(token.strip(), edge.admin_token.encode()):
        raise Problem(403, f"{what}: that is not the admin token")


def _chosen_arm(edge: Edge, path: PredictPath, headers: Headers) -> Arm:
    """The arm named in ``X-Model-Arm``, for those who may choose one."""
    _check_token(edge, headers, "X-Model-Arm")
    if headers[b"x-model-arm"] == b"production":
        return "production"
    if headers[b"x-model-arm"] == b"canary":
        if path.split.canary is None:
            raise Problem(409, "X-Model-Arm: no canary is running")
        return "canary"
    raise Problem(422, "X-Model-Arm: expected production or canary")
