"""Tensors of the Open Inference Protocol as they travel: JSON values, or raw bytes behind the JSON.

Nothing here knows a model: a tensor's elements are held against the tensor's own datatype and shape.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.domain.schema import LARGEST, WHOLE
from service.http.instances import LONGEST_NAME, TOO_LARGE, kind_of
from service.http.problem import TOO_MANY_ERRORS, Problem, does_not_fit

Part: TypeAlias = memoryview | list[Any]
"""A tensor's data: raw bytes, or JSON values."""

DTYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
}
_DOUBLE = float(np.finfo(np.float64).max)
_LIMITS: dict[str, tuple[float, float]] = {
    "FP32": (-LARGEST, LARGEST),
    "FP64": (-_DOUBLE, _DOUBLE),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-WHOLE, WHOLE),
}
_JSON_TYPES: dict[str, frozenset[type]] = {
    "FP32": frozenset({float, int, type(None)}),
    "FP64": frozenset({float, int, type(None)}),
    "INT32": frozenset({int, type(None)}),
    "INT64": frozenset({int, type(None)}),
    "BYTES": frozenset({str, type(None)}),
}
_LENGTH = struct.Struct("<I")
"""Stands in front of each element of a raw BYTES tensor: its length in bytes."""


class TensorParameters(msgspec.Struct):
    """Parameters of one input; others mean nothing here."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    shared_memory_region: Any = None


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One input of a request."""

    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    parameters: TensorParameters | None = None
    data: list[Any] | None = None


class Fault(NamedTuple):
    """An element that cannot be read; ``element`` is its place in C order."""

    element: int
    kind: str
    message: str


def unfit(tensor: Tensor, message: str, *where: str) -> Problem:
    """422 for a whole tensor."""
    name = tensor.name[:LONGEST_NAME]
    return does_not_fit([{"loc": ["inputs", name, *where], "msg": message}])


def split(tensors: list[Tensor], binary: memoryview) -> list[Part]:
    """Each tensor's own data; the raw ones lie in ``binary`` one after another.

    Raises:
        Problem: 400, the raw sizes do not add up to ``binary``; 422, a tensor has no data, or twice.
    """
    parts: list[Part] = []
    start = 0
    for tensor in tensors:
        parameters = tensor.parameters or TensorParameters()
        size = parameters.binary_data_size
        if size is not None and tensor.data is not None:
            raise unfit(tensor, "has both data and binary_data_size")
        if size is not None:
            if start + size > len(binary):
                left = f"{len(binary) - start} bytes of the body are left for its {size}"
                raise Problem(400, f"inputs.{tensor.name[:LONGEST_NAME]}: {left}")
            parts.append(binary[start : start + size])
            start += size
        elif tensor.data is not None:
            parts.append(tensor.data)
        elif parameters.shared_memory_region is not None:
            raise unfit(tensor, "shared memory is not offered; send the data itself")
        else:
            raise unfit(tensor, "has neither data nor binary_data_size")
    if start != len(binary):
        raise Problem(400, f"the body has {len(binary) - start} bytes that belong to no input")
    return parts


def numbers(tensor: Tensor, part: Part) -> tuple[NDArray[Any], list[Fault]]:
    """The elements of a numeric tensor in C order, [elements], with NaN for JSON's null; or its faults.

    Raw bytes keep their type and are not copied; JSON comes as float32 for FP32 (infinite where that
    is too small for it), else as float64.

    Raises:
        Problem: 422, the datatype is none of ``DTYPES``, or the data is not as long as the shape says.
    """
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise unfit(tensor, f"expected {', '.join(DTYPES)}, found {tensor.datatype[:20]!r}", "datatype")
    if isinstance(part, memoryview):
        size = math.prod(tensor.shape) * dtype.itemsize
        if len(part) != size:
            raise unfit(
                tensor, f"{tensor.datatype} {tensor.shape} is {size} bytes, found {len(part)}", "data"
            )
        return np.frombuffer(part, dtype), []
    values = _flat(tensor, part)
    faults = _faults(tensor.datatype, values)
    if faults:
        return np.empty(0), faults
    array = np.array(values, np.float64)
    return array.astype(np.float32) if tensor.datatype == "FP32" else array, []


def words(tensor: Tensor, part: Part) -> tuple[list[bytes], list[Fault]]:
    """The elements of a BYTES tensor in C order as UTF-8, empty for JSON's null.

    Raises:
        Problem: 422, the datatype is not BYTES, or the data is not as long as the shape says.
    """
    if tensor.datatype != "BYTES":
        raise unfit(tensor, f"expected BYTES, found {tensor.datatype[:20]!r}", "datatype")
    if isinstance(part, memoryview):
        return _unpack(tensor, bytes(part)), []
    values = _flat(tensor, part)
    faults = _faults("BYTES", values)
    texts = [value if isinstance(value, str) else "" for value in values]
    return [text.encode() for text in texts], faults


def pack(elements: Sequence[bytes]) -> bytes:
    """A raw BYTES tensor."""
    return b"".join([_LENGTH.pack(len(element)) + element for element in elements])


def _unpack(tensor: Tensor, raw: bytes) -> list[bytes]:
    count = math.prod(tensor.shape)
    found: list[bytes] = []
    start = 0
    while start + _LENGTH.size <= len(raw) and len(found) < count:
        begin = start + _LENGTH.size
        start = begin + _LENGTH.unpack_from(raw, start)[0]
        found.append(raw[begin:start])
    if start != len(raw) or len(found) != count:
        message = f"{len(raw)} bytes are not {count} elements, each behind its length in 4 bytes"
        raise unfit(tensor, message, "data")
    return found


def _flat(tensor: Tensor, data: list[Any]) -> list[Any]:
    """JSON data in C order, whether it came flat or nested as the shape is."""
    count = math.prod(tensor.shape)
    if len(data) == count and not (data and isinstance(data[0], list)):
        return data
    level: list[Any] = [data]
    for length in tensor.shape:
        if any(not isinstance(part, list) or len(part) != length for part in level):
            raise unfit(tensor, f"expected {count} values, flat or nested as {tensor.shape}", "data")
        level = list(chain.from_iterable(level))
    return level


def _faults(datatype: str, values: list[Any]) -> list[Fault]:
    """JSON values that are not of the datatype."""
    types, found = _JSON_TYPES[datatype], set(map(type, values))
    low, high = _LIMITS.get(datatype, (0, 0))
    if found <= types and (int not in found or _within(values, low, high)):
        return []
    faults = []
    for index, value in enumerate(values):
        if type(value) not in types:
            shown = value if isinstance(value, float) else kind_of(value)
            faults.append(Fault(index, "type", f"expected {datatype}, found {shown}"))
        elif isinstance(value, int | float) and (value < low or value > high):
            faults.append(Fault(index, "range", TOO_LARGE))
        if len(faults) == TOO_MANY_ERRORS:
            break
    return faults


def _within(values: list[Any], low: float, high: float) -> bool:
    present = [value for value in values if value is not None]
    return not present or (min(present) >= low and max(present) <= high)
