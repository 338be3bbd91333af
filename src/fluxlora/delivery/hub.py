"""Requests to the Hugging Face Hub with its own client, and results of a training that are only there."""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from fluxlora.errors import HubError
from fluxlora.onhost import guard
from fluxlora.text import one_line
from fluxlora.untrusted import files
from fluxlora.untrusted.files import Bound
from fluxlora.untrusted.schemas import HubUser, MalformedError, ProgressRecord, malformed, read, read_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_T = TypeVar("_T")
SITE = "https://huggingface.co"
TOKENS_PAGE = f"{SITE}/settings/tokens"
_STATE = "training_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9][0-9]{0,8})")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_ENTRIES = 10_000
# A training's progress is a few hundred bytes, and up to 20 lines of errors.
_PROGRESS_BYTES = 10**6
_NAMES_AT_HOME = {guard.FINISHED: "progress.json"}


def client(token: str, endpoint: str | None, *, timeout_seconds: float = 15.0) -> HfApi:
    """Return the Hub's client with a timeout for every request; without an address, for its default Hub."""
    import huggingface_hub  # takes 0.5 s, so it is imported only if needed
    from huggingface_hub.utils._http import default_client_factory

    def limit(request: Any) -> None:
        # Most requests are sent with an explicit None, which means without a timeout.
        waits = request.extensions["timeout"]
        waits.update({name: timeout_seconds for name, seconds in waits.items() if seconds is None})

    def limited() -> Any:
        made = default_client_factory()
        made.event_hooks["request"].append(limit)
        return made

    huggingface_hub.set_client_factory(limited)
    # As in the client: with a slash at the end every address would have two.
    return huggingface_hub.HfApi(endpoint=(endpoint or "").rstrip("/") or None, token=token)


def full_name(api: HfApi, repo: str) -> str:
    """Return the repository with its namespace, by default the token's user. Raises HubError."""
    if not api.token:
        hint = f"make a token that may write at {TOKENS_PAGE}, and: export HF_TOKEN=…"
        raise HubError("HF_TOKEN is not set", hint=hint, code="no_token")
    return repo if "/" in repo else f"{whoami(api).name}/{repo}"


def whoami(api: HfApi) -> HubUser:
    """Return the Hub's record of the token's user. Raises HubError."""
    try:
        return read(HubUser, ask(api.whoami), "The Hub's record of the token's user")
    except MalformedError as error:
        raise HubError(str(error), hint="check HF_ENDPOINT if it is set", code="unreachable") from error


@dataclass(frozen=True)
class Delivered:
    """The results of a training that are on the Hub and not on this computer."""

    # Step of the newest checkpoint; 0 for none.
    step: int = 0
    # Commit with the finished adapter; empty if there is none.
    progress: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""


def find_delivery(api: HfApi, repo: str, *, since: float, above: int = 0) -> Delivered:
    """Return what arrived in the repository after `since` (seconds since the epoch): the finished adapter, or a
    checkpoint.

    Checkpoints up to the step `above` are ignored. The guard sends each in one commit, so it is complete or
    missing. Raises HubError.
    """
    from huggingface_hub.hf_api import RepoFile

    try:
        # A repository with more files at its top does not belong to a run.
        entries = ask(lambda: list(islice(api.list_repo_tree(repo), _MOST_ENTRIES)), repo)
        names = {file.path for file in entries}
    except HubError as error:
        if error.code == "no_such_model":
            return Delivered()
        raise
    # A folder is as new as its newest file; the file with the state alone may be the same in each training.
    steps = {name: int(found[1]) for name in names if (found := _CHECKPOINT.fullmatch(name)) and int(found[1]) > above}
    finished = {guard.FINISHED, guard.ADAPTER} if {guard.FINISHED, guard.ADAPTER} <= names else set()
    asked = [*steps, *(f"{name}/{_STATE}" for name in steps), *finished]
    listed = (
        {file.path: file for file in ask(lambda: api.get_paths_info(repo, asked, expand=True), repo)} if asked else {}
    )
    recent = {path for path, file in listed.items() if file.last_commit and file.last_commit.date.timestamp() >= since}
    step = max((steps[name] for name in recent & steps.keys() if f"{name}/{_STATE}" in listed), default=0)
    if guard.FINISHED not in recent:
        return Delivered(step)
    adapter = listed.get(guard.ADAPTER)
    digest = str(adapter.lfs.sha256) if isinstance(adapter, RepoFile) and adapter.lfs else ""
    return Delivered(step, _progress(api, repo), digest if _SHA256.fullmatch(digest) else "")


def download(api: HfApi, repo: str, found: Delivered, folder: Path, *, bound: Bound | None = None) -> list[str]:
    """Download the adapter and its progress.json, otherwise the checkpoint; each gets its name when it is complete.

    A stranger's host has written them. As in a download from the host, the size is limited, and names outside of
    the folder or reserved for fluxlora are refused. Returns a sentence for each refused file. Raises HubError;
    HomeError if the run's folder is a link, or contains one in the path.
    """
    what = "adapter" if found.progress else f"checkpoint-{found.step}"
    needed = [guard.ADAPTER, guard.FINISHED] if found.progress else [f"{what}/{_STATE}"]
    for path in (files.STAGING, what, *_NAMES_AT_HOME.values(), *needed):
        files.refuse_links(folder, path)
    # The header of the adapter's copy; an adapter without this file is also accepted.
    named = [*needed, guard.FACTS] if found.progress else []
    commit, sizes = _offered(api, repo, named, "" if found.progress else what)
    refused = {name: reason for name in sizes if (reason := files.refusal(name, folder.name))}
    wanted = {name: size for name, size in sizes.items() if name not in refused}
    if excess := (bound or Bound()).exceeded(len(wanted), sum(wanted.values())):
        raise HubError(f"the files of {repo} are refused. {excess}", hint=files.RAISE_BOUND, code="too_much")
    files.require_room(folder, sum(wanted.values()))
    arriving = folder / files.STAGING / what
    _download(api, repo, [glob.escape(name) for name in wanted], arriving, commit)
    try:
        if missing := [name for name in needed if not (arriving / name).is_file()]:
            raise FileNotFoundError(f"{missing[0]} is missing in the download")
        shutil.rmtree(arriving / ".cache")
        if irregular := files.first_irregular(arriving):
            raise OSError(f"{irregular} is not a regular file")
        if found.progress:
            for name in wanted:
                files.place(arriving / name, folder, _NAMES_AT_HOME.get(name, name))
        else:
            shutil.rmtree(folder / what, ignore_errors=True)
            (arriving / what).rename(folder / what)
        shutil.rmtree(arriving)
        with suppress(OSError):
            arriving.parent.rmdir()
    except OSError as error:
        raise _not_home(repo, error) from error
    return [f"{one_line(name)!r} was left on the Hub: {reason}." for name, reason in refused.items()]


def _offered(api: HfApi, repo: str, names: Sequence[str], folder: str) -> tuple[str, dict[str, int]]:
    """Return the newest commit, and its files with these names or in this folder, with their sizes in bytes."""
    from huggingface_hub.hf_api import RepoFile

    def offered() -> tuple[str, dict[str, int]]:
        commit = api.repo_info(repo).sha
        named = api.get_paths_info(repo, list(names), revision=commit) if names else []
        inside = api.list_repo_tree(repo, folder, recursive=True, revision=commit) if folder else []
        # One file more than allowed is enough to refuse all.
        files = islice((entry for entry in chain(named, inside) if isinstance(entry, RepoFile)), Bound().files + 1)
        return commit or "main", {file.path: file.size for file in files}

    return ask(offered, repo)


def _progress(api: HfApi, repo: str) -> dict[str, Any]:
    """Return the progress, which a stranger's host has written. Raises HubError, because otherwise a finished run
    would be trained again."""
    commit, sizes = _offered(api, repo, [guard.FINISHED], "")
    source = f"{guard.FINISHED} in {repo} on the Hub"
    try:
        if sizes.get(guard.FINISHED, 0) > _PROGRESS_BYTES:
            raise malformed(source, f"it is larger than {_PROGRESS_BYTES / 1e6:g} MB")
        with TemporaryDirectory() as folder:
            _download(api, repo, [guard.FINISHED], Path(folder), commit)
            found = read_file(ProgressRecord, Path(folder) / guard.FINISHED, source)
    except MalformedError as error:
        hint = f"look at {SITE}/{repo}; without that file the run is trained again"
        raise HubError(str(error), hint=hint, code=error.code) from error
    return found.as_facts() if found else {}


def _download(api: HfApi, repo: str, patterns: list[str], folder: Path, commit: str) -> None:
    try:
        ask(lambda: api.snapshot_download(repo, revision=commit, allow_patterns=patterns, local_dir=folder), repo)
    except HubError:
        raise
    except Exception as error:  # The client does not catch errors of the disk, of its own checks and of hf_xet.
        raise _not_home(repo, error) from error


def _not_home(repo: str, error: Exception) -> HubError:
    return HubError(
        f"the files of {repo} could not be downloaded: {one_line(error)}",
        hint="what has arrived is kept; the same command resumes from there",
        code="download_failed",
    )


def ask(question: Callable[[], _T], subject: str = "") -> _T:
    """Return the Hub's answer to a request, which may be about a repository. Raises HubError."""
    import httpx2
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return question()
    except GatedRepoError as error:
        raise HubError(
            f"the licence of {subject} has not been accepted",
            hint=f"open {SITE}/{subject} with the account of the token, and accept it",
            code="gated",
        ) from error
    except RepositoryNotFoundError as error:
        raise _no_model(subject) from error
    except HfHubHTTPError as error:
        raise _refusal(error, subject) from error
    except HFValidationError as error:
        raise HubError(
            f"{subject} is not the name of a repository",
            hint="write it as on the Hub: black-forest-labs/FLUX.1-dev",
            code="no_such_model",
        ) from error
    except OfflineModeIsEnabled as error:
        raise HubError(
            "HF_HUB_OFFLINE is set, so the Hub was not asked", hint="unset HF_HUB_OFFLINE", code="offline"
        ) from error
    # ValueError: the answer is not from a Hub. LocalEntryNotFoundError: there was no answer, and none in the cache,
    # either.
    except (httpx2.HTTPError, httpx2.InvalidURL, LocalEntryNotFoundError, ValueError) as error:
        raise HubError(
            f"the Hub does not answer ({type(error).__name__})",
            hint="check the network, and HF_ENDPOINT if it is set",
            code="unreachable",
        ) from error


def _no_model(subject: str) -> HubError:
    return HubError(
        f"there is no model {subject} for this account", hint=f"look at {SITE}/{subject}", code="no_such_model"
    )


def _refusal(error: Any, subject: str) -> HubError:
    status = error.response.status_code
    if status in (401, 403):
        return HubError(
            "HF_TOKEN is not valid", hint=f"make a new one at {TOKENS_PAGE}, and: export HF_TOKEN=…", code="bad_token"
        )
    if status == 429 or status >= 500:
        return HubError(f"the Hub answered {status}", hint="try again in some minutes", code="unreachable")
    if status == 404 and subject:
        return _no_model(subject)
    return HubError(
        f"the Hub answered {status}" + (f" when asked about {subject}" if subject else ""),
        hint="look at https://status.huggingface.co, and at HF_ENDPOINT if it is set",
    )
