"""When a certificate begins and ends to be valid, read strictly from its DER. Pure.

OpenSSL accepts two forms of dates and no other (RFC 5280, §4.1.2.5): ``YYMMDDHHMMSSZ`` and ``YYYYMMDDHHMMSSZ``. What
`ssl.SSLSocket.getpeercert` returns would not do: it shows other forms alike.
"""

from __future__ import annotations

from typing import NamedTuple

BY_TRUE_TIME = "by true time"
"""These words are in each error about a certificate that true time has judged, and in none of OpenSSL's."""

_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0
_DIGITS = {_UTC_TIME: 12, _GENERALIZED_TIME: 14}
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TO_1970 = 719_528  # days from 0000-01-01


class Validity(NamedTuple):
    """When a certificate is valid, both seconds included. Seconds since the Unix epoch; negative before it."""

    not_before: int
    not_after: int


def validity(der: bytes) -> Validity:
    """Return when a certificate in DER is valid. ValueError if it is none, or states a date otherwise than allowed."""
    certificate, rest = _element(der, _SEQUENCE)
    if rest:
        raise ValueError("bytes follow the certificate")
    signed, _ = _element(certificate, _SEQUENCE)
    if signed[:1] == bytes([_VERSION]):
        _, signed = _element(signed)
    for _field in ("serial number", "algorithm", "issuer"):
        _, signed = _element(signed)
    dates, _ = _element(signed, _SEQUENCE)
    not_before, dates = _date(dates)
    not_after, dates = _date(dates)
    if dates:
        raise ValueError("more than two dates")
    return Validity(not_before, not_after)


def _element(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """Split off the first element; return its content and what follows it."""
    if len(data) < 2 or (tag is not None and data[0] != tag):
        raise ValueError("not the expected element")
    length, start = data[1], 2
    if length >= 0x80:
        start += length & 0x7F
        digits = data[2:start]
        length = int.from_bytes(digits, "big")
        # Neither indefinite, nor longer than needed: DER has one form for each length.
        if len(digits) != start - 2 or length < 0x80 or not digits[0]:
            raise ValueError("a length that DER does not allow")
    end = start + length
    if end > len(data):
        raise ValueError("an element is cut short")
    return data[start:end], data[end:]


def _date(data: bytes) -> tuple[int, bytes]:
    """Split off a date; return it in seconds since the Unix epoch, and what follows it."""
    digits = _DIGITS.get(data[0] if data else 0)
    text, rest = _element(data)
    if digits is None or len(text) != digits + 1 or text[digits:] != b"Z" or not text[:digits].isdigit():
        raise ValueError("a date that is neither YYMMDDHHMMSSZ nor YYYYMMDDHHMMSSZ")
    year, fields = int(text[: digits - 10]), text[digits - 10 : digits]
    if digits == 12:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = (int(fields[at : at + 2]) for at in range(0, 10, 2))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _DAYS[month - 1] + (leap and month == 2):
        raise ValueError("no day of the calendar")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("no time of a day")
    before = year - 1  # the years that are over, from 0000, which was a leap year
    days = 365 * year + (before // 4 - before // 100 + before // 400 + 1 if year else 0)
    days += sum(_DAYS[: month - 1]) + (leap and month > 2) + day - 1
    return ((days - _TO_1970) * 24 + hour) * 3600 + minute * 60 + second, rest
