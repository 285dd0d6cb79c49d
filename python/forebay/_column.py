"""String and binary columns as a user sees them in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
import pyarrow as pa


class ArrowColumn:
    """A column of strings, binary or decimals of a batch, in Arrow's layout, without a copy.

    It behaves as a read-only sequence of `str`, `bytes` or `Decimal` (None where null, under null_policy="mask"), and
    as an Arrow array for everything that speaks the Arrow C data interface: `pyarrow.array(column)`,
    `polars.Series(column)`.
    The column keeps its batch's memory charged until it, and every slice and Arrow array made from it, is gone.
    """

    __slots__ = ("_array", "_column")

    def __init__(self, column: Any) -> None:
        """column: an object with `__len__` and `__arrow_c_array__`."""
        self._column = column
        self._array: pa.Array | None = None

    def _arrow(self) -> pa.Array:
        """The column as a pyarrow Array over the same memory, made once."""
        if self._array is None:
            self._array = pa.array(self._column)
        return self._array

    def __len__(self) -> int:
        """Rows of the column."""
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str | bytes | None: ...

    @overload
    def __getitem__(self, index: slice) -> ArrowColumn: ...

    def __getitem__(self, index: Any) -> Any:
        """The value at an index (negative: from the end), or for a slice a column over the same memory.

        A slice with a step other than 1 copies. Raises IndexError out of range, TypeError for anything else.
        """
        value = self._arrow()[index]
        return ArrowColumn(value) if isinstance(value, pa.Array) else value.as_py()

    def __iter__(self) -> Iterator[str | bytes | None]:
        """The values, one by one."""
        for scalar in self._arrow():
            yield scalar.as_py()

    def to_pylist(self) -> list[str | bytes | None]:
        """All values as a list of str or bytes, None where null."""
        values: list[str | bytes | None] = self._arrow().to_pylist()
        return values

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """All values as a numpy array of dtype object, shape (rows,): str or bytes, None where null. Copies."""
        return self._arrow().to_numpy(zero_copy_only=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """For numpy.asarray(): as to_numpy(). Raises ValueError for copy=False, since values are always copied."""
        if copy is False:
            raise ValueError("a string column cannot become a numpy array without a copy")
        values = self.to_numpy()
        return values if dtype is None else values.astype(dtype)

    def __arrow_c_array__(self, requested_schema: Any = None) -> tuple[Any, Any]:
        """The Arrow PyCapsule interface: (schema capsule, array capsule) over the same memory."""
        capsules: tuple[Any, Any] = self._column.__arrow_c_array__(requested_schema)
        return capsules

    @property
    def nbytes(self) -> int:
        """Bytes of this column's offsets and values."""
        return int(self._column.nbytes)

    def __reduce__(self) -> tuple[type[ArrowColumn], tuple[pa.Array]]:
        """Pickles and copies by value."""
        return ArrowColumn, (pa.concat_arrays([self._arrow()]),)

    def __repr__(self) -> str:
        """Type, rows and the first few values."""
        array = self._arrow()
        values = array[:4].to_pylist()
        shown = [repr(value[:32] if isinstance(value, (str, bytes)) else value) for value in values]
        more = ["..."] if len(array) > 4 else []
        return f"<forebay.ArrowColumn {array.type}, {len(array)} rows: [{', '.join(shown + more)}]>"
