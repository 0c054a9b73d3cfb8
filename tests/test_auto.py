"""What a host has, by what stands in its file system."""

from __future__ import annotations

import os
from pathlib import Path

import botocore.session
import pytest

from skewguard.sources.auto import LINK_LOCAL, PUBLIC, HostSources, regional_endpoint

STS = regional_endpoint(os.environ)


def host(root: Path, *files: str, **texts: str) -> HostSources:
    for path, text in {**dict.fromkeys(files, ""), **texts}.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return HostSources(root)


def test_a_bare_host_asks_the_public_service(tmp_path: Path) -> None:
    assert list(host(tmp_path).uris()) == [PUBLIC, STS]


def test_the_cheapest_come_first(tmp_path: Path) -> None:
    """A daemon's memory, its socket, a device, the network."""
    found = host(
        tmp_path,
        "var/run/clockbound/shm0",
        "run/clockboundd/clockboundd.sock",
        "run/chrony/chronyd.sock",
        "dev/ptp3",
        **{"sys/class/ptp/ptp3/clock_name": "ena-ptp-05\n", "sys/devices/virtual/dmi/id/sys_vendor": "Amazon EC2\n"},
    )
    assert list(found.uris()) == ["clockbound", "clockboundd", "phc:/dev/ptp3", "chrony", *LINK_LOCAL, PUBLIC, STS]
    assert [tuple(source.name for source in tier) for tier in found.tiers()] == [(uri,) for uri in found.uris()]


def test_what_is_made_is_kept(tmp_path: Path) -> None:
    """An NTP source remembers who sent it away."""
    found = host(tmp_path)
    assert found.tiers()[-1][0] is found.tiers()[-1][0]


@pytest.mark.parametrize(
    ("path", "text", "ec2"),
    [
        ("sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2", True),
        ("sys/devices/virtual/dmi/id/sys_vendor", "QEMU", False),
        ("sys/devices/virtual/dmi/id/bios_version", "4.11.amazon", True),
        ("sys/devices/virtual/dmi/id/bios_version", "1.16.3-debian", False),
        ("sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef", True),
        ("sys/hypervisor/uuid", "1916ec2e-9099-7caf-fd21-012345abcdef", False),
    ],
)
def test_an_instance_is_recognised_by_its_firmware(tmp_path: Path, path: str, text: str, ec2: bool) -> None:
    """Nothing is sent to find out."""
    assert host(tmp_path, **{path: text}).on_ec2() is ec2


@pytest.mark.parametrize(
    ("name", "uris"),
    [
        ("ena-ptp-05", ["phc:/dev/ptp0"]),
        ("KVM virtual PTP", ["phc:/dev/ptp0"]),
        ("hyperv", ["phc:/dev/ptp0"]),
        ("mlx5_ptp", []),
    ],
)
def test_only_a_clock_known_to_show_utc_is_asked(tmp_path: Path, name: str, uris: list[str]) -> None:
    """Most network cards' clocks show TAI, or nothing."""
    found = host(tmp_path, "dev/ptp0", **{"sys/class/ptp/ptp0/clock_name": name})
    assert list(found.uris()) == [*uris, PUBLIC, STS]


def test_a_clock_without_a_device_is_not_asked(tmp_path: Path) -> None:
    """A container sees the kernel's list, but not the device."""
    assert list(host(tmp_path, **{"sys/class/ptp/ptp0/clock_name": "hyperv"}).uris()) == [PUBLIC, STS]


def test_ec2s_own_name_for_its_clock_is_preferred(tmp_path: Path) -> None:
    found = host(tmp_path, "dev/ptp_ena", "dev/ptp0", **{"sys/class/ptp/ptp0/clock_name": "hyperv"})
    assert next(found.uris()) == "phc:/dev/ptp_ena"


def test_files_that_cannot_be_read_are_not_there(tmp_path: Path) -> None:
    for path in ("sys/devices/virtual/dmi/id/sys_vendor", "sys/class/ptp/ptp0/clock_name", "sys/hypervisor/uuid"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "run").write_text("a file where a directory should be")
    assert list(HostSources(tmp_path).uris()) == [PUBLIC, STS]


@pytest.mark.parametrize(
    ("region", "uri"),
    [
        ("eu-central-1", "https://sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "https://sts.eusc-de-east-1.amazonaws.eu"),
        ("us-isob-east-1", None),
        ("eu-isoe-west-1", None),
        ("local", "https://sts.us-east-1.amazonaws.com"),
        ("x.example/", "https://sts.us-east-1.amazonaws.com"),
    ],
)
def test_the_endpoint_of_a_region(tmp_path: Path, region: str, uri: str | None) -> None:
    """The environment's region, else the profile's; what is none is not part of a URI."""
    nowhere = {"AWS_CONFIG_FILE": str(tmp_path / "config")}
    assert regional_endpoint({"AWS_REGION": region, **nowhere}) == uri
    assert regional_endpoint({"AWS_DEFAULT_REGION": region, **nowhere}) == uri
    (tmp_path / "config").write_text(f"[default]\nregion = {region}\n")
    assert regional_endpoint(nowhere) == uri


def test_every_region_has_its_endpoint() -> None:
    """botocore's own names of STS, in all partitions that a public network reaches."""
    session = botocore.session.get_session()
    resolver = session._get_internal_component("endpoint_resolver")
    for partition in ("aws", "aws-cn", "aws-us-gov"):
        for region in session.get_available_regions("sts", partition):
            if region != "aws-global":
                name = resolver.construct_endpoint("sts", region)["hostname"]
                assert regional_endpoint({"AWS_REGION": region}) == f"https://{name}"
