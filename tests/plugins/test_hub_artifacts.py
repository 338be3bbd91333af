"""What the guard sent to the Hub while this computer was off comes home by itself, whole and of this training."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import playing
import pytest

from conftest import VastServer
from fluxlora.delivery import hub
from fluxlora.delivery.adapter import file_sha256
from fluxlora.errors import HubError
from fluxlora.onhost import guard, supervisor
from fluxlora.untrusted.files import Bound, HomeError

Send = Callable[[str, Path, dict[str, Any]], str]


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same, with all that lies below them."""
    names = [{path.relative_to(top) for path in top.rglob("*")} for top in (one, other)]
    files = [name for name in names[0] if (one / name).is_file()]
    return names[0] == names[1] and all(filecmp.cmp(one / name, other / name, shallow=False) for name in files)


def test_it_comes_home_once_where_it_is_newer_and_of_this_training(
    vast: VastServer, tmp_path: Path, sent_checkpoint: tuple[str, Path]
) -> None:
    (repo, sent), home = sent_checkpoint, tmp_path / "home"
    wanted = {"repo": repo, "path": str(home), "since": time.time() - 600}
    incomplete, planned, brought, again, older, never, refused = playing.play(
        vast,
        tmp_path,
        [
            ("hub_artifacts", {"repo": repo}),
            ("hub_artifacts", wanted | {"check_mode": True}),
            ("hub_artifacts", wanted | {"above": 8}),
            ("hub_artifacts", wanted | {"above": 12}),
            ("hub_artifacts", wanted | {"since": time.time() + 600}),
            ("hub_artifacts", wanted | {"repo": "rehearsal/never-made"}),
            ("hub_artifacts", wanted | {"environment": {"HF_TOKEN": ""}}),
        ],
        HF_ENDPOINT=vast.hub_url,
        HF_TOKEN=vast.hub_token,
    )

    assert "path" in incomplete["msg"]
    assert (planned["changed"], planned["step"]) == (True, 12)
    assert (brought["changed"], brought["step"]) == (True, 12)
    assert [(each["changed"], each["step"]) for each in (again, older, never)] == [(False, 0)] * 3
    assert refused["code"] == "no_token"
    assert [path.name for path in home.iterdir()] == ["checkpoint-12"]
    assert same(home / "checkpoint-12", sent)


def test_a_checkpoint_of_this_training_is_not_taken_for_an_earlier_ones_that_had_the_same_state(
    vast: VastServer, sent_checkpoint: tuple[str, Path], send: Send
) -> None:
    repo, sent = sent_checkpoint
    api, began = hub.client(vast.hub_token, vast.hub_url), time.time() + 1
    time.sleep(2)
    assert hub.look(api, f"rehearsal/{repo}", since=began).step == 0

    (sent / guard.ADAPTER).write_text("other weights" * 1000)
    send(repo, sent.parent, {"phase": "training", "checkpoints": [12]})
    assert hub.look(api, f"rehearsal/{repo}", since=began).step == 12


def test_a_hub_that_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # The client tries it six times, with pauses.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        api = hub.client("hf_x", f"http://127.0.0.1:{server.getsockname()[1]}", timeout_seconds=0.2)
        with pytest.raises(HubError) as caught:
            hub.look(api, "jane/my-style", since=0)
    assert caught.value.code == "unreachable"


def test_what_has_only_half_arrived_is_none_and_the_next_call_has_the_whole(
    vast: VastServer, tmp_path: Path, sent_checkpoint: tuple[str, Path]
) -> None:
    (repo, sent), home = sent_checkpoint, tmp_path / "home"
    (home / "checkpoint-12").mkdir(parents=True)
    (home / "checkpoint-12" / "optimizer.bin").write_text("half of what a host that died had sent")
    (home / "checkpoint-12-tmp" / "checkpoint-12").mkdir(parents=True)
    api = hub.client(vast.hub_token, vast.hub_url)

    vast.hub_fault("hub_down", times=99)
    with pytest.raises(HubError):
        hub.bring_home(api, f"rehearsal/{repo}", hub.Delivered(12), home)
    vast.hub_fault("hub_down", times=0)
    assert supervisor.checkpoints(home) == []

    hub.bring_home(api, f"rehearsal/{repo}", hub.Delivered(12), home)
    assert same(home / "checkpoint-12", sent)


@pytest.mark.parametrize("name", [".", "checkpoint-12", "checkpoint-12/training_state.json", ".arriving"])
def test_a_link_at_home_that_is_in_the_way_is_refused_by_name(
    vast: VastServer, tmp_path: Path, sent_checkpoint: tuple[str, Path], name: str
) -> None:
    (repo, _sent), outside = sent_checkpoint, tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("of the user")
    link = tmp_path / "home" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / "file" if name.endswith(".json") else outside)
    with pytest.raises(HomeError, match=f"{link} is a link to {outside}"):
        hub.bring_home(
            hub.client(vast.hub_token, vast.hub_url), f"rehearsal/{repo}", hub.Delivered(12), tmp_path / "home"
        )
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("file", "of the user")]


def test_more_than_was_expected_and_names_of_ours_stay_on_the_hub(
    vast: VastServer, tmp_path: Path, sent_checkpoint: tuple[str, Path], send: Send
) -> None:
    (repo, sent), home = sent_checkpoint, tmp_path / "home"
    odd = sent / ".rsync-partial"
    odd.mkdir()
    (odd / "optimizer.bin").write_text("of a stranger")
    send(repo, sent.parent, {"phase": "training", "checkpoints": [12]})
    shutil.rmtree(odd)

    api, repo = hub.client(vast.hub_token, vast.hub_url), f"rehearsal/{repo}"
    with pytest.raises(HubError) as refused:
        hub.bring_home(api, repo, hub.Delivered(12), home, bound=Bound(files=1))
    assert (refused.value.code, home.exists()) == ("too_much", False)

    left_out = hub.bring_home(api, repo, hub.Delivered(12), home)
    assert [path.name for path in home.iterdir()] == ["checkpoint-12"]
    assert same(home / "checkpoint-12", sent)
    assert len(left_out) == 1


def test_a_finished_adapter_comes_home_alone_with_the_progress_it_was_finished_with(
    vast: VastServer, tmp_path: Path, sent_checkpoint: tuple[str, Path], send: Send
) -> None:
    (repo, sent), home, began = sent_checkpoint, tmp_path / "home", time.time() - 600
    adapter = sent.parent / guard.ADAPTER
    adapter.write_bytes(b"the adapter" * 1000)
    (sent.parent / guard.FACTS).write_text('{"alpha": 8.0}')
    api = hub.client(vast.hub_token, vast.hub_url)
    push = [sys.executable, "-c", guard.UPLOAD, repo, adapter.parent, "", adapter.name]
    subprocess.run(push, env=os.environ | vast.hub_environment, check=True, timeout=60)
    pushed = hub.look(api, f"rehearsal/{repo}", since=began)
    assert not pushed.progress, "the trainer pushes the adapter of each checkpoint under this name"

    finished = {"phase": "finished", "step": 24, "checkpoints": [12, 24]}
    assert send(repo, sent.parent, finished) == "the adapter was delivered to the Hub"
    found = hub.look(api, f"rehearsal/{repo}", since=began)
    assert (found.progress, found.sha256) == (finished, file_sha256(adapter))
    assert not hub.look(api, f"rehearsal/{repo}", since=time.time() + 600).progress, "another training's"

    hub.bring_home(api, f"rehearsal/{repo}", found, home)
    assert {path.name for path in home.iterdir()} == {guard.ADAPTER, guard.FACTS, "progress.json"}
    assert json.loads((home / "progress.json").read_text()) == finished


@pytest.mark.parametrize("progress", [{"phase": "finished", "loss": "x"}, {"phase": "finished", "checkpoints": [[]]}])
def test_a_finished_run_whose_progress_cannot_be_used_is_a_sentence_and_not_trained_again(
    vast: VastServer, sent_checkpoint: tuple[str, Path], progress: dict[str, Any]
) -> None:
    (repo, sent), began = sent_checkpoint, time.time() - 600
    (sent.parent / guard.ADAPTER).write_bytes(b"the adapter" * 1000)
    (sent.parent / guard.FINISHED).write_text(json.dumps(progress))
    push = [sys.executable, "-c", guard.UPLOAD, repo, str(sent.parent), "checkpoint-*", guard.ADAPTER, guard.FINISHED]
    subprocess.run(push, env=os.environ | vast.hub_environment, check=True, timeout=60)

    with pytest.raises(HubError) as refused:
        hub.look(hub.client(vast.hub_token, vast.hub_url), f"rehearsal/{repo}", since=began)
    assert refused.value.code == "malformed"
    assert f"{guard.FINISHED} in rehearsal/{repo} on the Hub cannot be used: " in str(refused.value)
