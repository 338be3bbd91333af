"""What of a training the Hub holds, and what it means when it refuses: its own client, and a stand-in beside it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import pytest
import uvicorn
from huggingface_hub import HfApi, errors

from fluxlora.delivery import hub
from fluxlora.errors import HubError
from fluxlora.onhost import guard
from fluxlora.rehearsal.hub import hub_app
from fluxlora.untrusted.files import RAISE_BOUND, Bound, HomeError

TOKEN = "hf_" + "x" * 34
FINISHED = {"phase": "finished", "step": 24}
AN_HOUR_AGO, IN_AN_HOUR = time.time() - 3600, time.time() + 3600


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Hub in a thread of this process."""
    app = hub_app(tmp_path_factory.mktemp("hub"), TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def api(url: str, monkeypatch: pytest.MonkeyPatch) -> HfApi:
    # The stand-in speaks LFS.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return hub.client(TOKEN, f"{url}/")


Push = Callable[..., str]


@pytest.fixture
def push(api: HfApi, tmp_path: Path) -> Push:
    """Puts these files into the test's own repository, in one commit; its full name."""
    name = tmp_path.name.replace("_", "-")[-90:].strip("-.")

    def commit(**files: str) -> str:
        repo = api.create_repo(name, exist_ok=True).repo_id
        operations = [
            huggingface_hub.CommitOperationAdd(path.replace("__", "/"), content.encode())
            for path, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message="test")
        return repo

    return commit


def checkpoint(step: int, **more: str) -> dict[str, str]:
    return {f"checkpoint-{step}__training_state.json": "{}", **more}


def look(api: HfApi, repo: str, **options: Any) -> hub.Delivered:
    return hub.look(api, repo, **{"since": AN_HOUR_AGO} | options)


def test_a_repository_without_a_namespace_is_the_tokens_users(api: HfApi) -> None:
    assert hub.full_name(api, "my-style") == "rehearsal/my-style"
    assert hub.full_name(api, "jane/my-style") == "jane/my-style"
    with pytest.raises(HubError) as caught:
        hub.full_name(HfApi(token=None), "jane/my-style")
    assert caught.value.code == "no_token"
    assert str(caught.value) == "HF_TOKEN is not set"
    assert "https://huggingface.co/settings/tokens" in caught.value.hint


def test_where_no_hub_is_named_the_hub_itself_is_asked() -> None:
    assert hub.client("x", None).endpoint == hub.client("x", "").endpoint == "https://huggingface.co"
    assert hub.client("x", "http://127.0.0.1:9/").endpoint == "http://127.0.0.1:9"


def test_a_question_without_a_time_limit_of_its_own_gets_fifteen_seconds() -> None:
    waits = {"read": None, "connect": 3.0}
    for seconds, options in ((15.0, {}), (0.2, {"timeout_seconds": 0.2})):
        hub.client("x", None, **options)
        request = httpx2.Request("GET", "https://huggingface.co", extensions={"timeout": dict(waits)})
        for hook in huggingface_hub.utils.get_session().event_hooks["request"]:
            hook(request)
        assert request.extensions["timeout"] == {"read": seconds, "connect": 3.0}


def test_a_repository_that_was_never_made_holds_nothing(api: HfApi) -> None:
    assert look(api, "rehearsal/never-made") == hub.Delivered(0, {}, "")


def test_another_refusal_than_that_is_an_error(url: str) -> None:
    with pytest.raises(HubError) as caught:
        look(hub.client("hf_wrong", url), "rehearsal/any")
    assert caught.value.code == "bad_token"


def test_the_newest_whole_checkpoint_that_is_new_counts(api: HfApi, push: Push) -> None:
    files = checkpoint(4) | checkpoint(12) | {"checkpoint-20__half.bin": "x", "checkpoint-x__training_state.json": "{}"}
    repo = push(**files, **{"old-checkpoint-99__training_state.json": "{}", "note.txt": "x"})
    assert look(api, repo) == hub.Delivered(12)
    assert look(api, repo, above=4).step == 12
    assert look(api, repo, above=11).step == 12
    assert look(api, repo, above=12).step == 0
    assert look(api, repo, since=IN_AN_HOUR).step == 0


def test_a_repository_without_a_checkpoint_holds_none(api: HfApi, push: Push) -> None:
    assert look(api, push(**{"note.txt": "x"})) == hub.Delivered()


def test_an_adapter_is_finished_where_the_progress_that_finished_it_lies_beside_it(api: HfApi, push: Push) -> None:
    repo = push(**{guard.ADAPTER: "weights"}, **checkpoint(4))
    assert look(api, repo) == hub.Delivered(4), "each checkpoint's adapter has this name as well"
    push(**{guard.FINISHED: json.dumps(FINISHED)})
    found = look(api, repo)
    assert (found.step, found.progress) == (4, FINISHED)
    assert len(found.sha256) == 64
    assert look(api, repo, since=IN_AN_HOUR) == hub.Delivered()


def test_a_progress_without_its_adapter_finishes_nothing(api: HfApi, push: Push) -> None:
    assert look(api, push(**{guard.FINISHED: json.dumps(FINISHED)})) == hub.Delivered()


@pytest.mark.parametrize("content", ["[1]", "nonsense", "7", " "])
def test_a_progress_that_is_no_object_is_an_error_that_names_it(api: HfApi, push: Push, content: str) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: content})
    with pytest.raises(HubError, match=f"{guard.FINISHED} in {repo}"):
        look(api, repo)


def test_a_checkpoint_comes_as_a_whole(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo = push(**checkpoint(12, **{"checkpoint-12__more__state": "more"}), **checkpoint(4), **{"note.txt": "x"})
    home = tmp_path / "home"
    (home / "checkpoint-12").mkdir(parents=True)
    (home / "checkpoint-12" / "half").write_text("of an earlier try")
    hub.bring_home(api, repo, hub.Delivered(12), home)
    assert sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()) == [
        "checkpoint-12/more/state",
        "checkpoint-12/training_state.json",
    ]
    assert [path.name for path in home.iterdir()] == ["checkpoint-12"]


def test_a_finished_adapter_comes_with_its_progress_and_nothing_else(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: json.dumps(FINISHED)}, **checkpoint(4))
    home = tmp_path / "home"
    hub.bring_home(api, repo, look(api, repo), home)
    assert {path.name: path.read_text() for path in home.iterdir()} == {
        guard.ADAPTER: "weights",
        "progress.json": json.dumps(FINISHED),
    }


def test_what_is_not_there_does_not_come_and_leaves_what_is_at_home(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo, home = push(**checkpoint(4)), tmp_path / "home"
    (home / "checkpoint-12").mkdir(parents=True)
    for found in (hub.Delivered(12), hub.Delivered(0, FINISHED)):
        with pytest.raises(HubError):
            hub.bring_home(api, repo, found, home)
    assert (home / "checkpoint-12").is_dir()


def test_a_checkpoint_without_its_state_is_none_and_the_missing_file_is_named(
    api: HfApi, push: Push, tmp_path: Path
) -> None:
    repo = push(**{"checkpoint-12__optimizer.bin": "x"})
    with pytest.raises(HubError) as caught:
        hub.bring_home(api, repo, hub.Delivered(12), tmp_path / "home")
    assert caught.value.code == "download_failed"
    assert str(caught.value).startswith(f"the files of {repo} did not come home: ")
    assert "checkpoint-12/training_state.json is not among what came" in str(caught.value)
    assert caught.value.hint == "what has arrived is kept, and the same call again goes on from there"


def test_no_more_comes_than_is_expected(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo, home = push(**checkpoint(12, **{"checkpoint-12__more": "more"})), tmp_path / "home"
    for bound in (Bound(files=1), Bound(size_bytes=5)):
        with pytest.raises(HubError) as caught:
            hub.bring_home(api, repo, hub.Delivered(12), home, bound=bound)
        assert caught.value.code == "too_much"
        assert str(caught.value).startswith(f"what {repo} holds is refused. 2 files of 0.0 GB are more than")
        assert caught.value.hint == RAISE_BOUND
    assert not home.exists()
    hub.bring_home(api, repo, hub.Delivered(12), home, bound=Bound(files=2, size_bytes=6))
    assert (home / "checkpoint-12" / "more").read_text() == "more"


def test_a_file_under_a_name_that_is_ours_stays_on_the_hub_and_is_said(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo, home = push(**checkpoint(12, **{"checkpoint-12__.arriving__state": "x"})), tmp_path / "home"
    left = hub.bring_home(api, repo, hub.Delivered(12), home)
    assert left == ["'checkpoint-12/.arriving/state' was left on the Hub: the name is kept for what is still arriving."]
    assert [path.name for path in (home / "checkpoint-12").iterdir()] == ["training_state.json"]


def test_nothing_comes_through_a_link(api: HfApi, push: Push, tmp_path: Path) -> None:
    repo, home = push(**checkpoint(12)), tmp_path / "home"
    home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (home / "checkpoint-12").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError):
        hub.bring_home(api, repo, hub.Delivered(12), home)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(("size", "words"), [(10**6 + 1, "it is larger than 1 MB"), (10**6, "cannot be used")])
def test_a_progress_that_is_too_large_is_not_read(api: HfApi, push: Push, size: int, words: str) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: "[" * size})
    with pytest.raises(HubError) as caught:
        look(api, repo)
    assert caught.value.code == "malformed"
    assert f"{guard.FINISHED} in {repo} on the Hub" in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.hint == f"look at https://huggingface.co/{repo}; without that file the run is trained again"


def test_everything_is_read_at_the_one_commit_that_was_looked_at(
    api: HfApi, push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: json.dumps(FINISHED)}, **checkpoint(4))
    commit, asked_at = api.repo_info(repo).sha, []
    for name in ("get_paths_info", "list_repo_tree", "snapshot_download"):
        ask = getattr(api, name)

        def recorded(*args: Any, _ask: Any = ask, _name: str = name, **options: Any) -> Any:
            asked_at.append((_name, options.get("revision")))
            return _ask(*args, **options)

        monkeypatch.setattr(api, name, recorded)
    hub.bring_home(api, repo, hub.Delivered(0, FINISHED), tmp_path / "finished")
    assert asked_at == [("get_paths_info", commit), ("snapshot_download", commit)]
    asked_at.clear()
    hub.bring_home(api, repo, hub.Delivered(4), tmp_path / "checkpoint")
    assert asked_at == [("list_repo_tree", commit), ("snapshot_download", commit)]
    assert not (tmp_path / "checkpoint" / guard.FACTS).exists()


def test_where_a_finished_adapter_is_looked_for_its_progress_is_read_at_one_commit(
    api: HfApi, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: json.dumps(FINISHED)})
    downloads, download = [], api.snapshot_download

    def recorded(*args: Any, **options: Any) -> Any:
        downloads.append((options["revision"], options["allow_patterns"]))
        return download(*args, **options)

    monkeypatch.setattr(api, "snapshot_download", recorded)
    look(api, repo)
    assert downloads == [(api.repo_info(repo).sha, [guard.FINISHED])]


def test_a_checkpoint_of_the_very_second_counts_and_step_1_is_one(api: HfApi, push: Push) -> None:
    repo = push(**checkpoint(1))
    (state,) = api.get_paths_info(repo, ["checkpoint-1"], expand=True)
    since = state.last_commit.date.timestamp()
    assert look(api, repo, since=since).step == 1
    assert look(api, repo, since=since + 1).step == 0


def test_an_adapter_whose_digest_the_hub_does_not_say_has_none(
    api: HfApi, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: json.dumps(FINISHED)})
    ask = api.get_paths_info
    for lfs in (None, huggingface_hub.hf_api.BlobLfsInfo(size=7, sha256="no digest", pointer_size=1)):

        def answer(*args: Any, _lfs: Any = lfs, **options: Any) -> Any:
            found = ask(*args, **options)
            for each in found:
                each.lfs = _lfs if each.path == guard.ADAPTER else None
            return found

        monkeypatch.setattr(api, "get_paths_info", answer)
        assert look(api, repo) == hub.Delivered(0, FINISHED, "")


@pytest.mark.parametrize("method", ["list_repo_tree", "get_paths_info", "snapshot_download", "repo_info"])
def test_a_refusal_names_the_repository_that_was_asked_about(
    api: HfApi, push: Push, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    repo = push(**{guard.ADAPTER: "weights", guard.FINISHED: json.dumps(FINISHED)}, **checkpoint(4))

    def refuse(*_: Any, **__: Any) -> Any:
        raise refused(418)

    monkeypatch.setattr(api, method, refuse)
    with pytest.raises(HubError, match=f"^the Hub answered 418 when asked about {repo}$"):
        look(api, repo)


def test_a_user_that_cannot_be_read_is_an_error_that_names_the_address(
    api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "whoami", lambda: ["no user"])
    with pytest.raises(HubError, match=r"^What the Hub says of the token's user cannot be used: ") as caught:
        hub.whoami(api)
    assert (caught.value.hint, caught.value.code) == ("check HF_ENDPOINT where it is set", "unreachable")


def test_a_download_that_the_disk_ends_names_the_repository_and_the_cause(
    api: HfApi, push: Push, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError("No space left on device")

    repo = push(**checkpoint(4))
    monkeypatch.setattr(api, "snapshot_download", full)
    with pytest.raises(HubError, match=f"^the files of {repo} did not come home: No space left on device$"):
        hub.bring_home(api, repo, hub.Delivered(4), tmp_path / "home")


def refused(status: int, kind: type[errors.HfHubHTTPError] = errors.HfHubHTTPError) -> Exception:
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/api"))
    return kind("the client's own words", response=response)


def asked(error: Exception, *subject: str) -> HubError:
    def question() -> None:
        raise error

    with pytest.raises(HubError) as caught:
        hub.ask(question, *subject)
    assert caught.value.__cause__ is error
    return caught.value


def test_an_answer_is_handed_on() -> None:
    assert hub.ask(lambda: 7) == 7


MISSING = ("no_such_model", "there is no model jane/x for this account", "look at https://huggingface.co/jane/x")
BROKEN = "try again in some minutes"
TOKENS = "make a new one at https://huggingface.co/settings/tokens, and: export HF_TOKEN=…"


@pytest.mark.parametrize(
    ("error", "code", "message", "hint"),
    [
        (refused(403, errors.GatedRepoError), "gated", "the licence of jane/x has not been accepted",
         "open https://huggingface.co/jane/x with the account of the token, and accept it"),
        (refused(401, errors.RepositoryNotFoundError), *MISSING),
        (refused(404), *MISSING),
        (refused(401), "bad_token", "HF_TOKEN is not valid", TOKENS),
        (refused(403), "bad_token", "HF_TOKEN is not valid", TOKENS),
        (refused(429), "unreachable", "the Hub answered 429", BROKEN),
        (refused(500), "unreachable", "the Hub answered 500", BROKEN),
        (refused(503), "unreachable", "the Hub answered 503", BROKEN),
        (refused(418), "hub_error", "the Hub answered 418 when asked about jane/x",
         "look at https://status.huggingface.co, and at HF_ENDPOINT where it is set"),
        (errors.HFValidationError("x"), "no_such_model", "jane/x is no name of a repository",
         "write it as on the Hub: black-forest-labs/FLUX.1-dev"),
        (errors.OfflineModeIsEnabled("x"), "offline", "HF_HUB_OFFLINE is set, so nothing was asked",
         "unset HF_HUB_OFFLINE"),
        (httpx2.ConnectError("x"), "unreachable", "the Hub does not answer (ConnectError)", "check the network"),
        (httpx2.InvalidURL("x"), "unreachable", "the Hub does not answer (InvalidURL)", "HF_ENDPOINT"),
        (errors.LocalEntryNotFoundError("x"), "unreachable", "the Hub does not answer (LocalEntryNotFoundError)",
         "check the network, and HF_ENDPOINT where it is set"),
        (ValueError("x"), "unreachable", "the Hub does not answer (ValueError)", "check the network"),
    ],
)  # fmt: skip
def test_a_refusal_of_the_hub_is_said_with_what_to_do(error: Exception, code: str, message: str, hint: str) -> None:
    found = asked(error, "jane/x")
    assert (found.code, str(found)) == (code, message)
    assert hint in found.hint


def test_a_question_about_no_repository_names_none() -> None:
    assert str(asked(refused(418))) == "the Hub answered 418"
    assert str(asked(refused(404))) == "the Hub answered 404"
    assert asked(refused(404)).code == "hub_error"
