"""The dates of certificates, as read from DER: against the calendar, against cryptography and against OpenSSL."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from skewguard.interval import SECOND, Interval, Trust
from skewguard.tls.connection import Judge, adopt
from skewguard.tls.dates import Validity, validity
from tests.certificates import HOST, Certificate, accepts, client, element, issue, redated, server

EPOCH = datetime.datetime(1970, 1, 1)
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
ROOT = issue("root", (-400, 400), authority=True)
LEAF = issue(HOST, issuer=ROOT)


def frame(dates: bytes) -> bytes:
    """Make what is read of a certificate, and nothing else of it."""
    signed = b"".join([element(0xA0, b"\2\1\2"), element(2, b"\1"), element(0x30, b""), element(0x30, b"")])
    return element(0x30, element(0x30, signed + element(0x30, dates) + element(0x30, b"")))


def dated(first: bytes, last: bytes) -> bytes:
    """Encode the dates of a certificate."""
    tags = (UTC_TIME if len(each) == 13 else GENERALIZED_TIME for each in (first, last))
    return b"".join(element(tag, each) for tag, each in zip(tags, (first, last), strict=True))


def seconds(first: int, last: int) -> bytes:
    """Encode them, given in s since the Unix epoch."""
    moments = (datetime.datetime.fromtimestamp(each, datetime.timezone.utc) for each in (first, last))
    return dated(*(f"{each:%y%m%d%H%M%S}Z".encode() for each in moments))


def read(first: bytes, last: bytes) -> Validity:
    return validity(frame(dated(first, last)))


SECONDS = st.datetimes(datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda moment: moment.replace(microsecond=0)
)


@given(SECONDS, SECONDS)
def test_any_second_of_the_calendar(first: datetime.datetime, last: datetime.datetime) -> None:
    """With four digits, of the years 1 to 9999, as the standard library counts."""
    forms = (f"{each.year:04}{each:%m%d%H%M%S}Z".encode() for each in (first, last))
    assert read(*forms) == tuple((each - EPOCH) // datetime.timedelta(seconds=1) for each in (first, last))


@given(st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2049, 12, 31, 23, 59, 59)))
def test_two_digits_of_a_year(moment: datetime.datetime) -> None:
    """They mean 1950 to 2049 (RFC 5280, §4.1.2.5.1)."""
    moment = moment.replace(microsecond=0)
    text = f"{moment:%y%m%d%H%M%S}Z".encode()
    assert read(text, text).not_after == (moment - EPOCH) // datetime.timedelta(seconds=1)


def test_the_year_0() -> None:
    """It was a leap year, and OpenSSL reads it."""
    first, last = read(b"00000101000000Z", b"00010101000000Z")
    assert last - first == 366 * 86_400
    assert read(b"00000229000000Z", b"00000301000000Z").not_after == first + 60 * 86_400


@settings(max_examples=50)
@given(SECONDS.filter(lambda moment: moment.year >= 1950), st.timedeltas(datetime.timedelta(0)))
def test_as_cryptography_reads_them(first: datetime.datetime, length: datetime.timedelta) -> None:
    """In whole certificates, which it made."""
    try:
        last = (first + length).replace(microsecond=0)
    except OverflowError:
        last = first
    built = (
        x509.CertificateBuilder()
        .subject_name(LEAF.certificate.subject)
        .issuer_name(LEAF.certificate.subject)
        .public_key(LEAF.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .sign(LEAF.key, LEAF.certificate.signature_hash_algorithm)  # type: ignore[arg-type]
    )
    found = validity(Certificate(built, LEAF.key).der)
    assert found == (built.not_valid_before_utc.timestamp(), built.not_valid_after_utc.timestamp())


@given(st.binary(max_size=120) | st.binary(max_size=40).map(frame))
def test_any_bytes(data: bytes) -> None:
    """They are refused with one exception, or state two dates."""
    try:
        found = validity(data)
    except ValueError:
        return
    assert all(isinstance(each, int) for each in found)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(max_examples=300)
@given(st.data())
def test_a_certificate_with_changed_bytes(data: st.DataObject) -> None:
    """What cryptography reads of it too, it reads alike; so no other field is taken for the dates."""
    changed = bytearray(LEAF.der)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = validity(bytes(changed))
        other = x509.load_der_x509_certificate(bytes(changed))
        theirs = (other.not_valid_before_utc.timestamp(), other.not_valid_after_utc.timestamp())
    except (ValueError, x509.InvalidVersion):
        return
    assert found == theirs


FORMS = {
    "two digits": b"400101000000Z",
    "four digits": b"20400101000000Z",
    "four digits, far": b"99991231235959Z",
    "no seconds": b"4001010000Z",
    "no seconds, four digits": b"204001010000Z",
    "an offset": b"400101000000+0000",
    "another offset": b"400101000000+0100",
    "an offset, four digits": b"20400101000000+0000",
    "no Z": b"400101000000",
    "no Z, four digits": b"20400101000000",
    "a small z": b"400101000000z",
    "a fraction": b"20400101000000.5Z",
    "a space": b"4001010000 0Z",
    "a sign": b"+40101000000Z",
    "an underscore": b"40_101000000Z",
    "day 30 of February": b"400230000000Z",
    "day 29 of February, no leap year": b"410229000000Z",
    "day 29 of February, leap year": b"400229000000Z",
    "day 29 of February 2100": b"21000229000000Z",
    "day 0": b"400100000000Z",
    "month 0": b"400001000000Z",
    "month 13": b"401301000000Z",
    "hour 24": b"400101240000Z",
    "minute 60": b"400101006000Z",
    "second 60": b"400101000060Z",
    "empty": b"",
    "last century": b"990101000000Z",
    "year 0": b"00000101000000Z",
    "letters": b"4001010000xxZ",
}


def verdicts(leaf: Certificate, directory: Path) -> tuple[bool, bool]:
    """Whether OpenSSL on a right clock accepts a certificate, and whether it is accepted on true time."""
    now = int(datetime.datetime.now().timestamp()) * SECOND
    plain, ours = client(ROOT), client(ROOT)
    assert adopt(ours, Judge(lambda: Interval(0, now, now, Trust.WITNESS, "s")))
    return accepts(plain, server(directory, leaf)), accepts(ours, server(directory, leaf))


@pytest.mark.parametrize("which", ["first", "last"])
@pytest.mark.parametrize("form", FORMS)
def test_what_openssl_accepts(form: str, which: str, tmp_path: Path) -> None:
    """And nothing else: whatever the form, and the tag."""
    text = FORMS[form]
    if which == "first":  # otherwise it would be refused for its date
        text = text.replace(b"2040", b"2016").replace(b"2100", b"1900").replace(b"9999", b"2000")
        text = text.replace(b"40", b"16", 1).replace(b"41", b"15", 1) if len(text) < 14 else text
    for tag in (UTC_TIME, GENERALIZED_TIME):
        odd = element(tag, text)
        first = element(UTC_TIME, b"200101000000Z")
        last = element(UTC_TIME, b"450101000000Z")
        dates = odd + last if which == "first" else first + odd
        try:
            plain, ours = verdicts(redated(LEAF, dates, ROOT), tmp_path)
        except ssl.SSLError:  # OpenSSL does not even load it
            continue
        assert ours == plain
