"""Targets for text input: responses, settings, addresses."""

from __future__ import annotations

import binascii
import contextlib
import datetime
import http.client
import io
from functools import cache
from typing import Any

import urllib3.exceptions
import urllib3.util
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser

from fuzz.check import only, sound
from skewguard import _warnings
from skewguard.cli.doctor.error_message import explain
from skewguard.cli.survey import ClockOffset
from skewguard.clocks import Reading
from skewguard.config import OFF_SWITCH, OTHER_SIGNERS, Settings, resolve
from skewguard.errors import ConfigError, StoreError
from skewguard.http_date import read_date, response_interval
from skewguard.interval import SECOND, Trust, plausible
from skewguard.signing import domains
from skewguard.signing.reply import Attempt, Reply, Verdict, judge, read, read_stamp
from skewguard.sources import from_uri
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import Grade
from skewguard.timekeeping.shared_file import MOST_BYTES, MOST_ENTRIES, parse, render

_SIGNED = 1_434_708_169 * SECOND  # 2015-06-19T10:02:49Z, the timestamp of the messages that the corpus quotes
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001
_YEAR_10000 = 253_402_300_800 * SECOND
_OPTIONS = Settings._fields
_VARIABLES = tuple(OFF_SWITCH if option == "enabled" else f"SKEWGUARD_{option.upper()}" for option in _OPTIONS)
_PROTOCOLS = ("rest-xml", "json", "rest-json", "query", "ec2")


def date(data: bytes) -> None:
    """A timestamp in any supported form; ``Date`` must agree with the standard library's parser."""
    text = data.decode("latin-1")
    stamp = read_stamp(text)
    if stamp is None:
        return
    # The year 1 is 62,135,596,800 s before 1970; 14 digits of milliseconds end in 5138.
    assert -62_135_596_800 * SECOND <= stamp <= _YEAR_10000
    heard = read_date({"Date": text})
    if heard is not None:
        assert heard.earliest < stamp < heard.latest
        if ":60 " not in text:  # a leap second, which the standard library does not read
            said = datetime.datetime.strptime(text[5:], "%d %b %Y %H:%M:%S GMT")  # noqa: DTZ007
            assert stamp == int((said - _EPOCH).total_seconds()) * SECOND


def message(data: bytes) -> None:
    """An error, one field a line: code, message, ServerTime, RequestTime, MaxAllowedSkewMilliseconds, Date."""
    fields = data.decode("utf-8", "replace").split("\n")
    names = ("Code", "Message", "ServerTime", "RequestTime", "MaxAllowedSkewMilliseconds")
    headers = {"Date": fields[5]} if len(fields) > 5 else {}
    reply = read(403, headers, {"Error": dict(zip(names, fields, strict=False))})
    assert reply.tolerance is None or reply.tolerance >= 0
    _judged(reply)


def response(data: bytes) -> None:
    """A whole response: status line, headers, body; through http.client and botocore's parser of each protocol."""
    line, _, rest = data.partition(b"\n")
    word = line.decode("latin-1").split(" ")[1:2]
    status = int(word[0]) if word and word[0].isascii() and word[0].isdecimal() and len(word[0]) == 3 else 403
    stream = io.BytesIO(rest)
    try:
        headers = HeadersDict(http.client.parse_headers(stream).items())
    except (http.client.HTTPException, ValueError):
        return
    body = stream.read()
    for protocol in _PROTOCOLS:
        try:
            parsed = _parser(protocol).parse(
                {"status_code": status, "headers": headers, "body": body, "context": {}}, None
            )
        except Exception:
            continue  # botocore raises before the handler runs
        reply = read(status, headers, parsed)
        assert reply.status == status
        assert (reply.date is None) == (status == 304 or read_date(headers) is None)
        _judged(reply)


@cache
def _parser(protocol: str) -> Any:
    return create_parser(protocol)


def _judged(reply: Reply) -> None:
    """Judge a reply to several attempts, and compute what it would teach."""
    heard = reply.heard
    for signed in (_SIGNED, reply.requested or 0, heard.earliest if heard else 0):
        for elapsed in (0, 20 * 60 * SECOND):
            verdict, reason = judge(Attempt(signed, elapsed), reply)
            assert verdict in Verdict
            assert reason.isprintable()
            if reply.status < 400 or reply.status >= 500:
                assert verdict is Verdict.NOT_TIME
    if heard is not None:
        assert 0 <= heard.latest - heard.earliest < 3 * SECOND
        sent, received = Reading(SECOND, _SIGNED), Reading(2 * SECOND, _SIGNED + SECOND)
        said = response_interval(heard.earliest, heard.latest, sent, received, Trust.WITNESS, "https://host")
        sound(said)
        plausible(said)


def uri(data: bytes) -> None:
    """A source's URI: an accepted one has a name, which is accepted again and means the same."""
    text = data.decode("utf-8", "surrogateescape")
    with only(ConfigError):
        source = from_uri(text)
        assert source.name.isprintable()
        assert from_uri(source.name).name == source.name
        assert from_uri(text) == source


def environment(data: bytes) -> None:
    """Settings, one per line: variables and profiles never raise, keywords raise nothing but ConfigError."""
    lines = [line.decode("utf-8", "surrogateescape") for line in data.split(b"\n")]
    _usable(resolve({}, dict(zip(_VARIABLES, lines, strict=False))))
    _usable(resolve({}, {}, dict(zip(_OPTIONS, lines, strict=False))))
    for option, text in zip(_OPTIONS, lines, strict=False):
        with only(ConfigError):
            _usable(resolve({option: text}, {}))
    _warnings.reset()  # each was remembered


def log(data: bytes) -> None:
    """A pasted error, or a log: each explanation fits on a line, has a name, and a cause that the clock allows."""
    text = data.decode("utf-8", "replace")
    for offset in (None, 0, 1200, -1200):
        known = None if offset is None else ClockOffset(offset * SECOND, SECOND // 100, "ntp://a")
        found = explain(text, known)
        assert found, "an answer"
        for finding in found:
            assert finding.text.isprintable(), f"not fit for a terminal: {finding.text!r}"
            assert finding.id.startswith("error-")
            assert finding.cause in {"clock", "other", "unknown", ""}
            assert offset or finding.cause != "clock", "a clock that is right, or not known, is blamed"


def _usable(settings: Settings) -> None:
    for option in _OPTIONS:
        value = getattr(settings, option)
        if option == "sources":
            assert value is None or all(source.name for source in value)
        elif option == "enabled" or isinstance(getattr(Settings(), option), bool):
            assert value in {True, False, None}
        elif option == "other_signers":
            assert set(value) <= set(OTHER_SIGNERS)
        else:
            assert (type(value) is int and value >= 0) or (option == "max_offset" and value is None)


def domain(data: bytes) -> None:
    """A URL and, on a second line, botocore's auth_path: every URL has a route.

    If skewguard takes a URL for AWS, then urllib3, which connects to it, must as well.
    """
    url, _, auth_path = data.decode("utf-8", "surrogateescape").partition("\n")
    start = domains.origin(url)
    assert url.startswith(start)
    assert domains.origin(start) == start
    bucket = domains.virtual_bucket(url, auth_path)
    assert "/" not in bucket
    for named in (bucket, ""):
        found = domains.find_domain(start, named)
        assert found.key
        if found.key == UTC:
            assert found.stand_in is Grade.NONE
            with contextlib.suppress(urllib3.exceptions.LocationParseError):
                host = urllib3.util.parse_url(start).host
                assert host is not None
                assert domains.is_aws(host.lower()), f"{start!r} leads to {host!r}"


def store(data: bytes) -> None:
    """The file that a user's processes share, as it is and with a correct checksum."""
    for whole in (data, data + b"end %08x\n" % binascii.crc32(data)):
        with only(StoreError):
            tag, contents = parse(whole)
            assert len(contents.estimates) <= MOST_ENTRIES
            for key, said in contents.estimates.items():
                sound(said)
                plausible(said)
                assert (said.trust is Trust.AUTHENTICATED) == (key == UTC)
            again = render(contents, tag)
            assert len(again) <= MOST_BYTES
            assert parse(again) == (tag, contents)
