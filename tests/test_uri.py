"""What skewguard's sources have in common: one way to parse a URI, and one way to format it."""

from __future__ import annotations

import contextlib
import os
import re
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skewguard.errors import ConfigError
from skewguard.sources import FORMS, Source, from_uri
from skewguard.sources.chrony import ChronySource
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockboundd import ClockBounddSource
from skewguard.sources.https import HttpsSource
from skewguard.sources.ntp import NtpSource
from skewguard.sources.phc import PhcSource
from skewguard.sources.uri import Uri, path_uri, split_uri, usable_path

SCHEMES = re.findall(r"(\w+)(?:\[:/|://)", FORMS)
BY_PATH = re.findall(r"(\w+)\[:/", FORMS)
SOURCES = {
    "clockbound": ClockBoundSource,
    "clockboundd": ClockBounddSource,
    "chrony": ChronySource,
    "phc": PhcSource,
    "ntp": NtpSource,
    "https": HttpsSource,
}
SWITCHES = {"chrony": ("allow_local",), "phc": ("utc",), "ntp": ("allow_local",)}


def read(uri: str) -> Uri:
    """Read a URI with all that one may have."""
    return split_uri(uri, "radio", "radio", host=True, switches=("fast", "far"))


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("radio", Uri(None, None, {"fast": False, "far": False})),
        ("RADIO?", Uri(None, None, {"fast": False, "far": False})),
        ("radio?fast=1", Uri(None, None, {"fast": True, "far": False})),
        ("radio?far=1&fast=1&far=0", Uri(None, None, {"fast": True, "far": False})),
        ("radio:/a/b?far=1", Uri(None, "/a/b", {"fast": False, "far": True})),
        ("radio:/a%20b%2C%25%23%3f", Uri(None, "/a b,%#?", {"fast": False, "far": False})),
        ("radio:/a+b:c", Uri(None, "/a+b:c", {"fast": False, "far": False})),
        ("radio://host", Uri("host", None, {"fast": False, "far": False})),
        ("radio://u@Host%20:0/?fast=0", Uri("u@Host%20:0", None, {"fast": False, "far": False})),
    ],
)
def test_what_a_uri_says(uri: str, parts: Uri) -> None:
    """Paths are decoded, hosts are not; switches are off unless they are on, and the last one counts."""
    assert read(uri) == parts


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "does not begin with radio"),
        ("radios", "does not begin with radio"),
        ("/radio", "does not begin with radio"),
        ("radio:", "'' is not the absolute path"),
        ("radio:a", "'a' is not the absolute path"),
        ("radio:/", "'/' is not the absolute path"),
        ("radio:/a/", "'/a/' is not the absolute path"),
        ("radio:/%00", "'/%00' is not the absolute path"),
        ("radio:%2F%2Fa", "'%2F%2Fa' is not the absolute path"),
        ("radio:/100%", "% in a path is written %25"),
        ("radio:/%0x", "% in a path is written %25"),
        ("radio:/a b", "characters that no URI may have"),
        ("radio:/ö", "characters that no URI may have"),
        ("radio\n", "characters that no URI may have"),
        ("radio:/a#b", "# in a path is written %23"),
        ("radio://", "names no host"),
        ("radio:///a", "names no host"),
        ("radio://host/a", "only options may follow"),
        ("radio?fast", "fast is not understood"),
        ("radio?fast=", "fast= is not understood"),
        ("radio?fast=yes", "fast=yes is not understood"),
        ("radio?slow=1", "slow=1 is not understood"),
        ("radio?fast=1&", " is not understood"),
        ("radio?fast=1?far=1", "fast=1.far=1 is not understood"),
    ],
)
def test_what_is_no_uri(uri: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        read(uri)
    assert str(caught.value).startswith(f"{uri!r} is not radio: ")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("ClockBound", "clockbound"),
        ("clockbound:/run/x%20y%2520", "clockbound:/run/x%20y%2520"),
        ("ClockBoundD", "clockboundd"),
        ("clockboundd:/run/x", "clockboundd:/run/x"),
        ("chrony", "chrony"),
        ("CHRONY?allow_local=1", "chrony"),
        ("chrony:/run/chrony/chronyd.sock", "chrony:/run/chrony/chronyd.sock"),
        ("chrony:/a%20b%3Fc%FF", "chrony:/a%20b%3Fc%FF"),
        ("chrony://127.0.0.1", "chrony://127.0.0.1"),
        ("chrony://127.0.0.1:323/", "chrony://127.0.0.1"),
        ("chrony://127.0.0.2:11323?allow_local=0", "chrony://127.0.0.2:11323"),
        ("chrony://[::1]:11323", "chrony://[::1]:11323"),
        ("chrony://[0:0::1]", "chrony://[::1]"),
        ("phc", "phc:/dev/ptp0"),
        ("PHC?utc=1", "phc:/dev/ptp0"),
        ("phc:/dev/ptp_ena", "phc:/dev/ptp_ena"),
        ("phc:/dev/a%20b%FF?utc=0", "phc:/dev/a%20b%FF"),
        ("ntp://time.example.com", "ntp://time.example.com"),
        ("ntp://time.example.com:123", "ntp://time.example.com"),
        ("NTP://Time.Example.com:1123/", "ntp://time.example.com:1123"),
        ("ntp://10.0.0.1?allow_local=1", "ntp://10.0.0.1"),
        ("ntp://[fd00:ec2::123]", "ntp://[fd00:ec2::123]"),
        ("ntp://[::1]:1123", "ntp://[::1]:1123"),
        ("ntp://[fe80::1%25ec0]", "ntp://[fe80::1%25ec0]"),
        ("ntp://[FE80::1%25enP2p1s0]", "ntp://[fe80::1%25enP2p1s0]"),  # an interface's name is what it is
        ("ntp://%48ost", "ntp://host"),
    ],
)
def test_a_source_is_called_by_its_uri(uri: str, name: str) -> None:
    """Without what is the default, and without options. All but NTP servers are on this host, and instant."""
    source = from_uri(uri)
    assert isinstance(source, Source)
    assert type(source) is SOURCES[uri.partition(":")[0].partition("?")[0].lower()]
    assert (source.name, repr(source)) == (name, f"<{type(source).__name__} {name}>")
    assert from_uri(name).name == name
    assert getattr(source, "instant", False) is not isinstance(source, NtpSource)


NO_SOURCES = [
    *("", "chronyd", "http://time.example.com"),
    *("chrony:run/chronyd.sock", "chrony://", "chrony:///run/chronyd.sock", "chrony://user@127.0.0.1"),
    *("chrony://192.0.2.1", "chrony://localhost"),  # another host's wall clock is not ours
    *("chrony://127.0.0.1:0", "chrony://127.0.0.1:65536", "chrony://127.0.0.1/path"),
    *("chrony://::1", "chrony://[::1%25lo]", "chrony://[::1"),
    *("ntp:", "ntp://", "ntp:time.example.com", "ntp://:123", "ntp://user@host", "ntp://host/path"),
    *("ntp://host:0", "ntp://host:65536", "ntp://host:-1", "ntp://host:ntp"),
    *("ntp://host#fragment", "ntp://host?allow_local"),
    *("ntp://ho st", "ntp://ho%20st", "ntp://host\n", "ntp://hôst", "ntp://[::1", "ntp://::1"),
]


@pytest.mark.parametrize("uri", NO_SOURCES)
def test_a_uri_of_no_source(uri: str) -> None:
    """It is refused when it is configured, not when it is asked."""
    with pytest.raises(ConfigError):
        from_uri(uri)


@pytest.mark.parametrize("scheme", SOURCES)
@example(begin="", text="//127.0.0.1")
@example(begin="", text="//a")
@given(begin=st.sampled_from(["", ":", ":/", "://"]), text=st.text(max_size=30) | st.text(max_size=30).map("/".__add__))
def test_any_text_makes_a_source_or_a_config_error(scheme: str, begin: str, text: str) -> None:
    """As a URI, and as a path or address; what is accepted has a name that means the same."""
    kind: Any = SOURCES[scheme]
    made = [lambda: kind.from_uri(f"{scheme}{begin}{text}"), lambda: kind.from_uri(text)]
    if kind is not NtpSource:  # whose host may be written in any case
        made.append(lambda: kind(text))
    for make in made:
        with contextlib.suppress(ConfigError):
            name = make().name
            assert kind.from_uri(name).name == name


@pytest.mark.parametrize(
    ("same", "other"),
    [
        (["clockbound:/run/x%20y%2520", ClockBoundSource("/run/x y%20")], ClockBoundSource()),
        (["clockboundd", ClockBounddSource()], ClockBounddSource("/run/x")),
        (["chrony://127.0.0.1:323", ChronySource("127.0.0.1")], ChronySource("127.0.0.1", allow_local=True)),
        (["phc", PhcSource(), PhcSource("/dev/ptp0")], PhcSource(utc=True)),
        (["ntp://host", NtpSource("host"), NtpSource("Host")], NtpSource("host", allow_local=True)),
        (["https://Host:443", HttpsSource("host"), HttpsSource("HOST", 443)], HttpsSource("host", 8443)),
    ],
    ids=SOURCES,
)
def test_equal_sources_are_one(same: list[Any], other: Source) -> None:
    uri, *sources = same
    assert len({from_uri(uri), *sources}) == 1
    assert other not in sources
    assert sources[0] != sources[0].name


@pytest.mark.parametrize("scheme", BY_PATH)
def test_every_source_decodes_its_path(scheme: str) -> None:
    """And encodes it in its name, so that a name is a URI, even in a list."""
    assert from_uri(f"{scheme}:/run/a%20b%2C%25c").name == f"{scheme}:/run/a%20b%2C%25c"
    assert from_uri(f"{scheme}:/run/%61").name == f"{scheme}:/run/a"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bad", [":", ":a", ":/a/", ":/a b", ":/%", ":/%00", ":///a", "://host/a", ":/a#b", "?a=1"])
def test_every_source_refuses_the_same(scheme: str, bad: str) -> None:
    with pytest.raises(ConfigError, match=f"is not {scheme}"):
        from_uri(scheme + bad)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("value", ["0", "1"])
def test_every_switch(scheme: str, value: str) -> None:
    """Each source has its own, and knows no other's."""
    base = "ntp://host" if scheme == "ntp" else scheme
    for switch in ("allow_local", "utc"):
        uri = f"{base}?{switch}={value}"
        if switch in SWITCHES.get(scheme, ()):
            assert (from_uri(uri) == from_uri(base)) is (value == "0")
        else:
            with pytest.raises(ConfigError, match=f"{switch}={value} is not understood"):
                from_uri(uri)


@given(st.text(max_size=30) | st.text(string.printable, max_size=20).map("/".__add__))
@example("/run/\udcff")
@example("/\ud800")
@example("//a")
def test_any_path_and_back(path: str) -> None:
    """Whatever can be a path survives being written as a URI and read again, and only that can be written."""
    if not usable_path(path):
        with pytest.raises(ConfigError, match="is not the absolute path of a thing"):
            path_uri("radio", path, "thing")
        return
    uri = path_uri("radio", path, "thing")
    assert not set(uri) & set(", \t\n#?")
    assert read(uri).path == path
    assert os.fsencode(path).startswith(b"/")


@given(st.text(max_size=30).map("radio:".__add__) | st.text(string.printable, max_size=30).map("radio".__add__))
def test_any_text_is_a_uri_or_a_config_error(text: str) -> None:
    """No text raises anything else; what has a path has no authority."""
    with contextlib.suppress(ConfigError):
        parts = read(text)
        assert parts.path is None or parts.authority is None
        assert parts.authority != ""
        assert parts.path is None or usable_path(parts.path)
