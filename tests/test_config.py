"""Where settings come from, and what happens to wrong ones."""

from __future__ import annotations

import logging
import os
import re
import warnings
from pathlib import Path

import pytest

from skewguard import _aws_profile
from skewguard.config import ATTACH_OPTIONS, Settings, as_boolean, resolve
from skewguard.errors import ConfigError, SkewguardWarning
from skewguard.interval import SECOND


def test_defaults() -> None:
    assert resolve({}, {}) == Settings()


@pytest.mark.parametrize(("value", "enabled"), [("true", False), ("TRUE", False), ("false", True), (" false ", True)])
def test_the_off_switch_that_all_aws_sdks_know(value: str, enabled: bool) -> None:
    """AWS_DISABLE_CLOCK_SKEW_CORRECTION switches off, or insists on staying on."""
    assert resolve({}, {"AWS_DISABLE_CLOCK_SKEW_CORRECTION": value}).enabled is enabled


def test_code_beats_the_off_switch() -> None:
    assert resolve({"enabled": True}, {"AWS_DISABLE_CLOCK_SKEW_CORRECTION": "true"}).enabled is True


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "maybe"),
        ("SKEWGUARD_DEADBAND", "soon"),
        ("SKEWGUARD_DEADBAND", "nan"),
        ("SKEWGUARD_MAX_AGE", "-1"),
        ("SKEWGUARD_TIMEOUT", "inf"),
        ("SKEWGUARD_LEARN_FROM_RESPONSES", "2"),
        ("SKEWGUARD_SOURCES", "sundial:/garden"),
        ("SKEWGUARD_SOURCES", "auto,chrony"),
        ("SKEWGUARD_MIN_SOURCES", "0"),
        ("SKEWGUARD_MAX_OFFSET", "much"),
        ("SKEWGUARD_REQUIRE_AUTHENTICATED", "yes"),
        ("SKEWGUARD_SHARE", "0"),
    ],
)
def test_a_wrong_variable_is_a_warning_and_the_default(variable: str, value: str) -> None:
    """An AWS call must not fail for it. It comes once, whatever reads the settings again."""
    with pytest.warns(SkewguardWarning, match=variable) as warned:
        assert [resolve({}, {variable: value}) for _ in range(2)] == [Settings()] * 2
    assert len(warned) == 1
    assert Path(warned[0].filename).name == Path(__file__).name, "the program's own line"


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("SKEWGUARD_SORCES", "Did you mean SKEWGUARD_SOURCES?"),
        ("SKEWGUARD_XYZZY", "There are SKEWGUARD_CORRECT_PRESIGNED, "),
        ("SKEWGUARD_ENABLED", "the switch is AWS_DISABLE_CLOCK_SKEW_CORRECTION"),
    ],
)
def test_a_misspelt_variable_is_a_warning(variable: str, hint: str) -> None:
    with pytest.warns(SkewguardWarning, match=f"{variable} is ignored: .*{re.escape(hint)}"):
        assert resolve({}, {variable: "chrony"}) == Settings()


def test_a_filter_that_makes_warnings_errors(caplog: pytest.LogCaptureFixture) -> None:
    """Then the log has it: a session may be in the making, or a call under way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve({}, {"SKEWGUARD_SORCES": "chrony"}) == Settings()
    assert "SKEWGUARD_SORCES" in caplog.text


def test_a_misspelt_keyword() -> None:
    with pytest.raises(ConfigError, match=r"option 'sourcs' is unknown; there are .*\. Did you mean sources\?"):
        resolve({"sourcs": []}, {})


def test_code_beats_the_environment_which_beats_the_profile() -> None:
    """Each option by itself."""
    profile = {"deadband": "20", "timeout": "3", "max_age": "60", "sources": "ntp://192.0.2.1, response"}
    settings = resolve({"deadband": 30}, {"SKEWGUARD_DEADBAND": "25", "SKEWGUARD_TIMEOUT": "4"}, profile)
    assert (settings.deadband, settings.timeout, settings.max_age) == (30 * SECOND, 4 * SECOND, 60 * SECOND)
    assert [source.name for source in settings.sources or ()] == ["ntp://192.0.2.1"]


@pytest.mark.parametrize("profile", [{"deadband": "soon"}, {"colour": "red"}, {"enabled": "true"}, {"timeout": {}}])
def test_a_wrong_profile_is_a_warning_and_the_default(profile: dict[str, object]) -> None:
    with pytest.warns(SkewguardWarning, match=f"{next(iter(profile))!r} in the AWS profile is ignored"):
        assert resolve({}, {}, profile) == Settings()


def test_what_code_decides_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """No file is read then."""
    with caplog.at_level(logging.WARNING, "skewguard"):
        resolve({"deadband": 1}, {"SKEWGUARD_DEADBAND": "soon"})
    assert not caplog.text


def in_file(directory: Path, text: str) -> dict[str, str]:
    """Write an AWS config file; return the environment that names it."""
    (directory / "config").write_text(text)
    return {"AWS_CONFIG_FILE": str(directory / "config")}


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("[default]\nskewguard =\n  share = false\n  max_age = 6\n", None, {"share": "false", "max_age": "6"}),
        ("[profile dev]\nskewguard =\n  timeout = 2\n", "dev", {"timeout": "2"}),
        ("[profile dev]\nskewguard =\n  timeout = 2\n", None, {}),
        ("[default]\nskewguard =\n", None, {}),
        ("[default]\nregion = skewguard\n", None, {}),
        ("[default\nskewguard =\n  timeout = 2\n", None, {}),
    ],
)
def test_the_block_of_the_aws_profile(text: str, name: str | None, found: dict[str, str], tmp_path: Path) -> None:
    """Of the profile that the environment names."""
    environ = in_file(tmp_path, text) | ({"AWS_PROFILE": name} if name else {})
    assert _aws_profile.options(environ) == found


def test_a_block_without_options_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(SkewguardWarning, match="must hold indented options"):
        assert _aws_profile.options(in_file(tmp_path, "[default]\nskewguard = on\n")) == {}


def test_no_file_no_options(tmp_path: Path) -> None:
    assert _aws_profile.options({"AWS_CONFIG_FILE": str(tmp_path / "none")}) == {}
    assert _aws_profile.options({"AWS_CONFIG_FILE": str(tmp_path)}) == {}


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this platform has no such files")
def test_a_profile_in_a_pipe_is_left_to_botocore() -> None:
    """As in ``AWS_CONFIG_FILE=<(decrypt config)``: only its first reader gets the content."""
    reading, writing = os.pipe()
    os.write(writing, b"[default]\nskewguard =\n  share = false\n")
    os.close(writing)
    try:
        assert _aws_profile.options({"AWS_CONFIG_FILE": f"/dev/fd/{reading}"}) == {}
        assert os.read(reading, 9) == b"[default]"
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "'colour' is unknown; there are"),
        ({"deadband": "soon"}, "not a number of seconds"),
        ({"deadband": True}, "not a number of seconds"),
        ({"deadband": -1}, "negative"),
        ({"deadband": None}, "not a number of seconds"),
        ({"deadband": float("inf")}, "not a number of seconds"),
        ({"enabled": "perhaps"}, "neither true nor false"),
        ({"sources": ["sundial:/garden"]}, "is not a time source"),
        ({"sources": [42]}, "not a time source"),
        ({"sources": 42}, "not iterable"),
        ({"sources": ["auto", "chrony"]}, "must be alone"),
        ({"min_sources": 1.5}, "not a number of sources"),
        ({"min_sources": True}, "not a number of sources"),
        ({"min_sources": 0}, "not a number of sources"),
    ],
)
def test_a_wrong_keyword_is_one_clear_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(options, {})


def test_process_options_are_not_for_attach() -> None:
    with pytest.raises(ConfigError, match="option of install"):
        resolve({"deadband": 1}, {}, allowed=ATTACH_OPTIONS)


@pytest.mark.parametrize(
    "uri",
    [
        "clockbound:/run/a\nb",
        "clockboundd:/run/\x1b[31m",
        "clockbound:/run/\udcff",
        "ntp://host?allow_local=%0a",
        "chrony:/run/x?allow_local=%0a",
        "phc?utc=%1b",
    ],
)
def test_what_cannot_be_printed_is_in_no_name_and_no_message(uri: str) -> None:
    """Names and messages go into logs and onto terminals, one line each."""
    with pytest.raises(ConfigError) as caught:
        resolve({"sources": [uri]}, {})
    assert str(caught.value).isprintable()


def test_sources_by_uri() -> None:
    """A list, or a comma-separated string, as in the environment. That responses are named changes nothing."""
    listed = resolve({"sources": ["ntp://192.0.2.1", "ntp://[2001:db8::1]:11123"]}, {})
    assert [source.name for source in listed.sources or ()] == ["ntp://192.0.2.1", "ntp://[2001:db8::1]:11123"]
    spelled = resolve({}, {"SKEWGUARD_SOURCES": "ntp://192.0.2.1, response, ntp://192.0.2.2,"})
    assert [source.name for source in spelled.sources or ()] == ["ntp://192.0.2.1", "ntp://192.0.2.2"]


@pytest.mark.parametrize("value", ["auto", ["auto"], " auto ", "auto,", "response", ["response"], "", []])
def test_what_the_host_has_and_nothing(value: object) -> None:
    """The default can be named; AWS's responses are no source that is asked."""
    expected = None if "auto" in value else ()  # type: ignore[operator]
    assert resolve({"sources": value}, {"SKEWGUARD_SOURCES": "ntp://192.0.2.1"}).sources == expected


def test_limits_of_trust() -> None:
    said = {"min_sources": 2, "max_offset": 3600, "require_authenticated": True, "share": False}
    expected = Settings(min_sources=2, max_offset=3600 * SECOND, require_authenticated=True, share=False)
    assert resolve(said, {}) == expected
    assert resolve({}, {f"SKEWGUARD_{name.upper()}": str(value).lower() for name, value in said.items()}) == expected
    assert resolve({"max_offset": None}, {"SKEWGUARD_MAX_OFFSET": "3"}).max_offset is None


@pytest.mark.parametrize(
    ("value", "truth"), [(True, True), ("true", True), ("True ", True), (False, False), ("FALSE", False)]
)
def test_booleans(value: object, truth: bool) -> None:
    assert as_boolean(value) is truth


@pytest.mark.parametrize("value", ["1", "", "yes", None, 1])
def test_no_boolean(value: object) -> None:
    with pytest.raises(ValueError, match="is neither true nor false"):
        as_boolean(value)
