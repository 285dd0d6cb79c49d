"""Thrift's compact protocol, as far as Parquet's footers and page headers need it: reading structs of any shape.

Specification: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. Nothing is known here
of what a struct means, so that fields of later versions are stepped over by themselves. The bytes are input: whatever
is not a struct raises MalformedThrift, and no length in them is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_MOST_DEPTH = 16
_STRUCT = 12


class MalformedThrift(ValueError):
    """The bytes are not a struct, or not all of one."""


def parse_struct(data: bytes) -> tuple[dict[int, Any], int]:
    """The struct at the start of data as {field: value}, and its length in bytes.

    Integers, bools, structs and lists of structs or integers are kept; everything else is stepped over and stands as
    None.
    """
    cursor = _Cursor(data)
    try:
        fields = cursor.struct(0)
    except IndexError:
        raise MalformedThrift("the struct ends early") from None
    return fields, cursor.at


def iterate_structs(data: bytes, field: int) -> Iterator[dict[int, Any]]:
    """The elements of one field, a list of structs, of the struct that data begins with; parsed one by one."""
    cursor = _Cursor(data)
    try:
        number = 0
        while (head := cursor.byte()) & 0x0F:
            number = number + (head >> 4) if head >> 4 else cursor.zigzag()
            if number != field:
                cursor.value(head & 0x0F, 0, in_list=False)
                continue
            count, kind = cursor.list_head()
            if kind != _STRUCT:
                raise MalformedThrift(f"field {field} is not a list of structs")
            for _ in range(count):
                yield cursor.struct(1)
            return
    except IndexError:
        raise MalformedThrift("the struct ends early") from None


def size_field(fields: dict[int, Any], field: int) -> int:
    """An integer field that is a size or a count: not negative. Raises MalformedThrift where it is anything else."""
    value = fields.get(field)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise MalformedThrift(f"field {field} is not a size")
    return value


class _Cursor:
    """A place in bytes that hold a struct of the Thrift compact protocol. Running past the end raises IndexError."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise MalformedThrift("an integer of more than 64 bits")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise IndexError
        self.at += count

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MOST_DEPTH:
            raise MalformedThrift("structs nested too deep")
        fields: dict[int, Any] = {}
        field = 0
        data = self.data
        while True:
            head = data[self.at]
            self.at += 1
            kind = head & 0x0F
            if not kind:
                return fields
            field = field + (head >> 4) if head >> 4 else self.zigzag()
            if 4 <= kind <= 6:  # as value() does it; a footer is mostly integers
                number = shift = 0
                at = self.at
                while (byte := data[at]) >= 0x80:
                    number |= (byte & 0x7F) << shift
                    shift += 7
                    at += 1
                    if shift > 63:
                        raise MalformedThrift("an integer of more than 64 bits")
                number |= byte << shift
                self.at = at + 1
                fields[field] = (number >> 1) ^ -(number & 1)
            elif kind == _STRUCT:
                fields[field] = self.struct(depth + 1)
            else:
                fields[field] = self.value(kind, depth, in_list=False)

    def value(self, kind: int, depth: int, *, in_list: bool) -> Any:
        if kind in (1, 2):  # a bool: in a struct its type is its value, in a list it is a byte
            return self.byte() == 1 if in_list else kind == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):  # i16, i32, i64
            return self.zigzag()
        if kind == 7:  # double
            return self.skip(8)
        if kind == 8:  # bytes
            return self.skip(self.varint())
        if kind in (9, 10):  # list, set
            return self._sequence(depth + 1)
        if kind == 11:
            return self._map(depth + 1)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind == 13:  # UUID
            return self.skip(16)
        raise MalformedThrift(f"an unknown kind of field: {kind}")

    def list_head(self) -> tuple[int, int]:
        """(elements, their kind) of a list or set."""
        head = self.byte()
        count = head >> 4
        return (self.varint() if count == 15 else count), head & 0x0F

    def _sequence(self, depth: int) -> list[Any] | None:
        count, kind = self.list_head()
        if depth > _MOST_DEPTH or count > len(self.data):
            raise MalformedThrift("a list longer than the bytes it is in")
        if kind == _STRUCT:
            return [self.struct(depth) for _ in range(count)]
        if kind in (4, 5, 6):
            return [self.zigzag() for _ in range(count)]
        for _ in range(count):
            self.value(kind, depth, in_list=True)
        return None

    def _map(self, depth: int) -> None:
        count = self.varint()
        if depth > _MOST_DEPTH or count > len(self.data):
            raise MalformedThrift("a map longer than the bytes it is in")
        kinds = self.byte() if count else 0
        for _ in range(count):
            self.value(kinds >> 4, depth, in_list=True)
            self.value(kinds & 0x0F, depth, in_list=True)
