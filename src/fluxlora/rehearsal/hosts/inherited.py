"""Settings of this machine that a host inherits, so that pip, uv and apt work there as they do here."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fluxlora.settings.credentials import secret_url

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # on the host

# The options of pip about indexes, timeouts and retries.
_LISTS = ("index-url", "extra-index-url", "find-links", "trusted-host")
_SINGLE = ("default-timeout", "timeout", "retries", "no-index", "prefer-binary", "disable-pip-version-check")
_UV = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_TRUSTED_HOST": "UV_INSECURE_HOST"}
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_LOOPBACK = "127.0.0.1,localhost"

# The python of SimpleTuner 4.10.1, which the hosts' distribution does not have, and possible places of it here.
_PYTHON = "python3.12"
_PYTHONS = ("~/.local/share/uv/python/*/bin", "~/.pyenv/versions/*/bin", "/opt/*/bin")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # on the host


@dataclass(frozen=True)
class Inherited:
    """This machine's settings: pip's options by name, and the environment."""

    pip: Mapping[str, str]
    pip_default_index: str
    environ: Mapping[str, str]
    # The folder of a python on this machine that the hosts do not have.
    python: Path | None = None

    def environment(self) -> dict[str, str]:
        """Return the lines of a host's /etc/environment, without values that contain a password."""
        found = {option: " ".join(_harmless(self.pip[option])) for option in _LISTS if option in self.pip}
        found |= {option: self.pip[option] for option in _SINGLE if option in self.pip}
        lines = {f"PIP_{option.replace('-', '_').upper()}": value for option, value in found.items() if value}
        # uv does not read pip's settings. It gets no additional index: it uses any wheel from the first index that has
        # a version, and the main index has everything that is locked.
        lines |= {uv: lines[name] for name, uv in _UV.items() if name in lines}
        # poetry requests JSON from PyPI, which not every index has; its mirror plug-in uses the simple index.
        index = lines.get("PIP_INDEX_URL", self.pip_default_index)
        if index.startswith("http"):
            lines["POETRY_PYPI_MIRROR_URL"] = index
        if self.ca_bundle:
            lines |= dict.fromkeys(("PIP_CERT", *_CERTIFICATES), BUNDLE)
        proxies = {name: self.environ[name] for name in _PROXIES if any(_harmless(self.environ.get(name, "")))}
        if proxies:
            none = self.environ.get("no_proxy") or self.environ.get("NO_PROXY")
            lines |= proxies | dict.fromkeys(("no_proxy", "NO_PROXY"), f"{none},{_LOOPBACK}" if none else _LOOPBACK)
        if self.python:
            lines["PATH"] = f"{_PATH}:{self.python / 'bin'}"
        return lines

    @cached_property
    def ca_bundle(self) -> Path | None:
        """The CA bundle of this machine, if one is set."""
        named = [self.pip.get("cert"), *map(self.environ.get, _CERTIFICATES)]
        return next((Path(name) for name in named if name and Path(name).is_file()), None)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Folders that a host needs, at the same paths as here."""
        sources = [source for option in _LISTS for source in _harmless(self.pip.get(option, ""))]
        local = [path for path in map(_local, sources) if path is not None and path.exists()]
        sources_here = (folder for path in local for folder in (path, *_linked_folders(path)))
        return tuple(dict.fromkeys([*sources_here, *([self.python] if self.python else [])]))


def inherited() -> Inherited:
    """Read pip's settings of this interpreter, and the environment."""
    pip = _ask_pip("-m", "pip", "config", "list", "--disable-pip-version-check")
    default = _ask_pip("-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
    return Inherited(
        pip=parse_pip_config(pip),
        pip_default_index=default.strip(),
        environ=dict(os.environ),
        python=find_python(_PYTHON, [shutil.which(_PYTHON), *_installed(_PYTHON)]),
    )


def parse_pip_config(listing: str) -> dict[str, str]:
    """Return the options of `pip install` from the output of `pip config list`."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.partition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def find_python(name: str, candidates: Iterable[str | None]) -> Path | None:
    """Return the folder of the first such interpreter that is a complete installation, which can be mounted."""
    if sys.platform != "linux":
        return None
    question = "import sys; print('python%d.%d' % sys.version_info[:2], sys.base_prefix)"
    for candidate in filter(None, candidates):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            output = subprocess.run(
                [candidate, "-I", "-c", question], capture_output=True, text=True, timeout=20, check=False
            ).stdout
            version, _, prefix = output.strip().partition(" ")
            if version == name and prefix not in ("/usr", "/usr/local"):
                return Path(prefix)
    return None


def _installed(name: str) -> Iterator[str]:
    """Yield such interpreters of uv, of pyenv and in usual folders; pyenv's own command only knows the chosen ones."""
    for pattern in map(Path, map(os.path.expanduser, _PYTHONS)):
        yield from map(str, sorted(Path("/").glob(f"{str(pattern).lstrip('/')}/{name}")))


def _ask_pip(*arguments: str) -> str:
    """Return pip's output; empty if this interpreter has no pip."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return "" if done.returncode else done.stdout


def _harmless(value: str) -> Iterator[str]:
    """Return the parts of a value without user names, passwords and tokens."""
    return (part for part in value.split() if "@" not in urlsplit(part).netloc and not secret_url(part))


def _local(source: str) -> Path | None:
    url = urlsplit(source)
    if url.scheme == "file":
        return Path(unquote(url.path))
    return Path(source) if Path(source).is_absolute() else None


def _linked_folders(index: Path) -> Iterator[Path]:
    """Return folders beside a local index to which its first page links."""
    page = next(index.glob("*/index.html"), None) if index.is_dir() else None
    if page is None:
        return
    for link in re.findall(r'href="([^"#:]+)', page.read_text(errors="replace")):
        target = Path(os.path.normpath(page.parent / unquote(link)))
        if not target.is_relative_to(index):
            shared = Path(os.path.commonpath([index, target]))
            yield shared / target.relative_to(shared).parts[0]
