"""The role `cuda` on a host whose driver is new enough."""

from __future__ import annotations

from testinfra.host import Host


def test_nothing_of_nvidia_is_installed(host: Host) -> None:
    packages = host.check_output("dpkg-query --show --showformat '${Package}\\n'").splitlines()
    assert [name for name in packages if "nvidia" in name or "cuda" in name] == []
