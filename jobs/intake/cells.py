"""Cells of an Arrow table, made into JSON values.

Numbers, booleans, texts, lists and structs are what they are in JSON. Further:

* Decimals are texts, so that none loses a digit. A float that is not a finite number is null.
* Dates and times are texts of ISO 8601. A timestamp with a time zone is given in UTC and ends in ``Z``; fractions of a
  second are as long as they must be.
* Bytes are the text that they are in UTF-8: many writers do not mark their texts as such. Other bytes are refused.
* A map with texts as keys is an object, any other a list of ``{"key", "value"}``. A UUID is its usual text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyarrow import types

#: Bytes that a value other than a text counts for.
_VALUE_BYTES = 8
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NoJsonValue(ValueError):
    """This cell has no JSON value; the text says what it is."""


class TooLong(Exception):
    """The row has more bytes than it may have."""


class Meter:
    """Counts a row's bytes while its cells are made, so that one that is too large is not made first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0

    def add(self, size: int) -> None:
        """
        Raises:
            TooLong: the row has become too large.
        """
        self.size += size
        if self.size > self._limit:
            raise TooLong


#: Makes the value of a scalar and meters it. Raises NoJsonValue, TooLong, or UnicodeDecodeError for a text.
Maker = Callable[[Any, Meter], object]


def is_text(type_: pa.DataType) -> bool:
    """Whether values of this type are texts, or bytes that may be texts."""
    if types.is_dictionary(type_):
        return is_text(type_.value_type)
    if _is_extension(type_):
        return not _is_uuid(type_) and is_text(type_.storage_type)
    return any(is_it(type_) for is_it in _TEXTS)


def is_plain(type_: pa.DataType) -> bool:
    """Whether pyarrow's own Python values of this type are its JSON values."""
    return any(is_it(type_) for is_it in _SAME_IN_PYTHON)


def has_dictionary(type_: pa.DataType) -> bool:
    """Whether there is a dictionary anywhere in this type."""
    inner = (type_.field(place).type for place in range(type_.num_fields))
    return types.is_dictionary(type_) or any(map(has_dictionary, inner))


def measured(value: Any, meter: Meter) -> object:
    """A plain value as it is."""
    if isinstance(value, str):
        meter.add(len(value) if value.isascii() else len(value.encode()))
    else:
        meter.add(_VALUE_BYTES)
    return value


def maker(type_: pa.DataType) -> Maker:
    """What makes JSON values of scalars of this type."""
    return _or_null(_maker(type_))


def refuser(type_: pa.DataType) -> Maker:
    """What takes nulls only."""
    return _or_null(_refuser(type_))


def _or_null(make: Maker) -> Maker:
    def _make(scalar: Any, meter: Meter) -> object:
        if scalar.is_valid:
            return make(scalar, meter)
        meter.add(_VALUE_BYTES)
        return None

    return _make


def _refuser(type_: pa.DataType) -> Maker:
    def _make(_scalar: Any, _meter: Meter) -> object:
        raise NoJsonValue(f"a value of type {type_}")

    return _make


def _maker(type_: pa.DataType) -> Maker:
    for is_it, make in _MAKERS:
        if is_it(type_):
            return make(type_)
    return _refuser(type_)


def _is_uuid(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.UuidType)


def _is_extension(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.BaseExtensionType)


def _metered(make: Callable[[Any], object]) -> Maker:
    def _make(scalar: Any, meter: Meter) -> object:
        meter.add(_VALUE_BYTES)
        try:
            return make(scalar)
        except (ValueError, OverflowError) as error:
            raise NoJsonValue(f"a value of type {scalar.type} ({error})") from None

    return _make


def _text(scalar: Any, meter: Meter) -> object:
    data = scalar.as_buffer()
    meter.add(data.size)
    return str(data, "utf-8")


def _float(scalar: Any) -> object:
    value = float(scalar.as_py())
    return value if math.isfinite(value) else None


def _moment(value: int, digits: int) -> str:
    seconds, rest = divmod(value, 10**digits)
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return f"{whole}.{rest:0{digits}}".rstrip("0") if rest else whole


def _timestamp(type_: pa.DataType) -> Maker:
    digits = _DIGITS[type_.unit]
    zone = "Z" if type_.tz is not None else ""
    return _metered(lambda scalar: _moment(scalar.value, digits) + zone)


def _time(type_: pa.DataType) -> Maker:
    digits = _DIGITS[type_.unit]
    return _metered(lambda scalar: _moment(scalar.value, digits).partition("T")[2])


def _inner(type_: pa.DataType) -> Maker:
    make = maker(type_)
    return lambda scalar, meter: make(scalar.value, meter)


def _list(type_: pa.DataType) -> Maker:
    make = maker(type_.value_type)

    def _make(scalar: Any, meter: Meter) -> object:
        meter.add(_VALUE_BYTES)
        return [make(value, meter) for value in scalar.values]

    return _make


def _struct(type_: pa.DataType) -> Maker:
    makers = [
        (type_.field(place).name, place, maker(type_.field(place).type))
        for place in range(type_.num_fields)
    ]

    def _make(scalar: Any, meter: Meter) -> object:
        meter.add(_VALUE_BYTES)
        return {name: make(scalar[place], meter) for name, place, make in makers}

    return _make


def _map(type_: pa.DataType) -> Maker:
    make_key, make_value = maker(type_.key_type), maker(type_.item_type)
    keys_are_texts = is_text(type_.key_type)

    def _make(scalar: Any, meter: Meter) -> object:
        meter.add(_VALUE_BYTES)
        pairs = [
            (make_key(entry[0], meter), make_value(entry[1], meter)) for entry in scalar.values
        ]
        if keys_are_texts:
            return dict(pairs)
        return [{"key": key, "value": value} for key, value in pairs]

    return _make


_TEXTS = (
    types.is_string,
    types.is_large_string,
    types.is_string_view,
    types.is_binary,
    types.is_large_binary,
    types.is_binary_view,
    types.is_fixed_size_binary,
)
_SAME_IN_PYTHON = (
    types.is_string,
    types.is_large_string,
    types.is_integer,
    types.is_boolean,
)
_LISTS = (
    types.is_list,
    types.is_large_list,
    types.is_fixed_size_list,
    types.is_list_view,
    types.is_large_list_view,
)


def _always(make: Maker) -> Callable[[pa.DataType], Maker]:
    return lambda _: make


#: The first that fits a type says what makes its values.
_MAKERS: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], Maker]]] = [
    *((is_it, _always(_text)) for is_it in _TEXTS),
    (types.is_dictionary, lambda type_: _inner(type_.value_type)),
    (types.is_null, _always(_metered(lambda _: None))),
    (types.is_boolean, _always(_metered(lambda scalar: scalar.as_py()))),
    (types.is_integer, _always(_metered(lambda scalar: scalar.as_py()))),
    (types.is_floating, _always(_metered(_float))),
    (types.is_decimal, _always(_metered(lambda scalar: format(scalar.as_py(), "f")))),
    (types.is_date, _always(_metered(lambda scalar: scalar.as_py().isoformat()))),
    (types.is_timestamp, _timestamp),
    (types.is_time, _time),
    (types.is_map, _map),
    (types.is_struct, _struct),
    *((is_it, _list) for is_it in _LISTS),
    (_is_uuid, _always(_metered(lambda scalar: str(scalar.as_py())))),
    (_is_extension, lambda type_: _inner(type_.storage_type)),
]
