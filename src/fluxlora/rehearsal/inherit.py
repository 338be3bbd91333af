"""What a host takes over from this machine so that pip and apt work there as they do here."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # on the host

# Of all that pip can be told, where packages come from and how patiently.
_LISTS = ("index-url", "extra-index-url", "find-links", "trusted-host")
_SINGLE = ("default-timeout", "timeout", "retries", "no-index", "prefer-binary", "disable-pip-version-check")
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_LOOPBACK = "127.0.0.1,localhost"


@dataclass(frozen=True)
class Inherited:
    """This machine's settings: pip's options by their names, and the environment."""

    pip: Mapping[str, str]
    pip_default_index: str
    environ: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """The lines of a host's /etc/environment. Nothing that holds a password."""
        found = {option: " ".join(_harmless(self.pip[option])) for option in _LISTS if option in self.pip}
        found |= {option: self.pip[option] for option in _SINGLE if option in self.pip}
        lines = {f"PIP_{option.replace('-', '_').upper()}": value for option, value in found.items() if value}
        # poetry asks PyPI for JSON, which not every index has; its mirror plug-in asks for the simple index.
        index = lines.get("PIP_INDEX_URL", self.pip_default_index)
        if index.startswith("http"):
            lines["POETRY_PYPI_MIRROR_URL"] = index
        if self.ca_bundle:
            lines |= dict.fromkeys(("PIP_CERT", *_CERTIFICATES), BUNDLE)
        proxies = {name: self.environ[name] for name in _PROXIES if any(_harmless(self.environ.get(name, "")))}
        if proxies:
            none = self.environ.get("no_proxy") or self.environ.get("NO_PROXY")
            lines |= proxies | dict.fromkeys(("no_proxy", "NO_PROXY"), f"{none},{_LOOPBACK}" if none else _LOOPBACK)
        return lines

    @cached_property
    def ca_bundle(self) -> Path | None:
        """The certificates this machine trusts, where it was told which."""
        named = [self.pip.get("cert"), *map(self.environ.get, _CERTIFICATES)]
        return next((Path(name) for name in named if name and Path(name).is_file()), None)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Folders a host must see, each at the path it has here."""
        sources = [source for option in _LISTS for source in _harmless(self.pip.get(option, ""))]
        local = [path for path in map(_local, sources) if path is not None and path.exists()]
        return tuple(dict.fromkeys(folder for path in local for folder in (path, *_linked_folders(path))))


def inherited() -> Inherited:
    """Read pip's settings of this interpreter, and the environment."""
    pip = _ask_pip("-m", "pip", "config", "list", "--disable-pip-version-check")
    default = _ask_pip("-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
    return Inherited(pip=parse_pip_config(pip), pip_default_index=default.strip(), environ=dict(os.environ))


def parse_pip_config(listing: str) -> dict[str, str]:
    """The options as `pip install` sees them, from what `pip config list` prints."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def _ask_pip(*arguments: str) -> str:
    """Nothing where this interpreter has no pip."""
    told = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return "" if told.returncode else told.stdout


def _harmless(value: str) -> Iterator[str]:
    """The parts of a value that hold no user name and no password."""
    return (part for part in value.split() if "@" not in urlsplit(part).netloc)


def _local(source: str) -> Path | None:
    url = urlsplit(source)
    if url.scheme == "file":
        return Path(unquote(url.path))
    return Path(source) if Path(source).is_absolute() else None


def _linked_folders(index: Path) -> Iterator[Path]:
    """Folders beside a local index that its pages link to, judged by its first page."""
    page = next(index.glob("*/index.html"), None) if index.is_dir() else None
    if page is None:
        return
    for link in re.findall(r'href="([^"#:]+)', page.read_text(errors="replace")):
        target = Path(os.path.normpath(page.parent / unquote(link)))
        if not target.is_relative_to(index):
            shared = Path(os.path.commonpath([index, target]))
            yield shared / target.relative_to(shared).parts[0]
