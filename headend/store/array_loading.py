"""Arrays of integers from PostgreSQL straight into numpy, without a Python object per element.

Source: PostgreSQL documentation, the array layout of ``array_send``: dimensions, null flag and
element type, then size and lower bound of each dimension, then length and value of each element,
all big-endian. Works on binary cursors only.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from headend.domain.errors import InvariantViolated

_HEAD_OCTETS = 12
_DIMENSION_OCTETS = 8


class _IntegerArrayLoader(Loader):
    format = Format.BINARY
    element: ClassVar[np.dtype[np.void]]
    dtype: ClassVar[np.dtype[np.signedinteger]]

    def load(self, data: Buffer) -> np.ndarray:
        head = np.frombuffer(data, dtype=">i4", count=3)
        dimensions, has_null = int(head[0]), int(head[1])
        if has_null:
            raise InvariantViolated("an array with NULL came where missing is a code of its own")
        if dimensions == 0:
            return np.empty(0, dtype=self.dtype)
        sizes = np.frombuffer(data, dtype=">i4", count=2 * dimensions, offset=_HEAD_OCTETS)[::2]
        elements = np.frombuffer(
            data, dtype=self.element, offset=_HEAD_OCTETS + _DIMENSION_OCTETS * dimensions
        )
        return elements["value"].astype(self.dtype).reshape(sizes)


class _BigintArrayLoader(_IntegerArrayLoader):
    element = np.dtype([("octets", ">i4"), ("value", ">i8")])
    dtype = np.dtype(np.int64)


class _SmallintArrayLoader(_IntegerArrayLoader):
    element = np.dtype([("octets", ">i4"), ("value", ">i2")])
    dtype = np.dtype(np.int16)


def load_arrays_as_numpy(context: AdaptContext) -> None:
    """Make a cursor return ``bigint[]`` as int64 and ``smallint[]`` as int16 arrays."""
    if context.adapters is None:
        raise InvariantViolated("a cursor without adapters")
    types = context.adapters.types
    # By number: the name "int8[]" would stand for the element type here.
    context.adapters.register_loader(types["int8"].array_oid, _BigintArrayLoader)
    context.adapters.register_loader(types["int2"].array_oid, _SmallintArrayLoader)
