"""The stand-in Hub, asked by both lines of huggingface_hub and by plain HTTP, in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from fluxlora.onhost import guard

ROOT = Path(__file__).parents[2]
TINY_FLUX = ROOT / "src/fluxlora/rehearsal/tiny_flux"
MODEL = "black-forest-labs/FLUX.1-dev"
REFUSED_MODEL = "black-forest-labs/FLUX.1-Fill-dev"
TOKEN = "hf_standintoken"
OLD_CLIENT = "0.36.0"  # what the trainer brings; the other one is fluxlora's own
SERVER = """
import os, sys, uvicorn
from pathlib import Path
from fluxlora.rehearsal.hub import hub_app
uvicorn.run(hub_app(Path(sys.argv[1]), os.environ["TOKEN"]), fd=int(sys.argv[2]), log_level="warning")
"""


@dataclass
class Hub:
    url: str
    state: Path

    def call(self, method: str, path: str, token: str | None = TOKEN, **options: Any) -> requests.Response:
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        return requests.request(method, self.url + path, headers=headers, timeout=20, **options)

    def commit(self, repository: str, **file: str) -> requests.Response:
        lines = [{"key": "header", "value": {"summary": "by hand"}}, {"key": "file", "value": file}]
        return self.call(
            "POST", f"/api/models/{repository}/commit/main", data="\n".join(json.dumps(line) for line in lines)
        )

    def batch(self, repository: str, digest: str, size: int) -> dict[str, Any]:
        asked = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": digest, "size": size}]}
        return self.call("POST", f"/{repository}.git/info/lfs/objects/batch", json=asked).json()["objects"][0]


@contextmanager
def serving(state: Path) -> Iterator[Hub]:
    # Bound before the server starts: whoever connects early waits in the queue.
    with socket.create_server(("127.0.0.1", 0)) as bound:
        command = [sys.executable, "-c", SERVER, str(state), str(bound.fileno())]
        with subprocess.Popen(command, env=os.environ | {"TOKEN": TOKEN}, pass_fds=[bound.fileno()]) as server:
            yield Hub(f"http://127.0.0.1:{bound.getsockname()[1]}", state)
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


class Client:
    """One huggingface_hub in one interpreter, used through HfApi's methods."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process = process
        self.name = name

    def __call__(self, method: str, **arguments: Any) -> Any:
        answer = self._ask(method, arguments)
        assert "error" not in answer, answer
        return answer["result"]

    def error(self, method: str, **arguments: Any) -> tuple[str, int]:
        answer = self._ask(method, arguments)
        return answer["error"], answer["status"]

    def _ask(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"method": method, "arguments": arguments}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def repository(self, name: str) -> str:
        """A fresh repository's id."""
        repository = f"rehearsal/{self.name}-{name}"
        self("create_repo", repo_id=repository)
        return repository


@pytest.fixture(scope="session")
def old_python() -> str:
    """An interpreter with the older huggingface_hub; made once and kept in the repository's cache."""
    folder = ROOT / f".cache/huggingface_hub-{OLD_CLIENT}"
    python, complete = folder / "bin/python", folder / "complete"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", f"huggingface_hub=={OLD_CLIENT}"]
        subprocess.run(command, check=True, timeout=300)
        complete.touch()
    return str(python)


@pytest.fixture(scope="module", params=["2.x", OLD_CLIENT])
def client(request: pytest.FixtureRequest, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    python = sys.executable if request.param == "2.x" else request.getfixturevalue("old_python")
    # The newer client chooses Xet for uploads without asking; the older one asks, and is to be told no.
    xet = {"HF_HUB_DISABLE_XET": "1"} if request.param == "2.x" else {}
    environment = {
        **{"PATH": os.environ["PATH"], "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"},
        **{"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path_factory.mktemp("home"))},
        **xet,
    }
    command = [python, str(Path(__file__).with_name("hub_client.py"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Client(process, request.param.replace(".", "-"))
        assert process.stdin
        process.stdin.close()
        process.wait(20)


@pytest.mark.parametrize("version", ["2.x", OLD_CLIENT])
def test_what_a_guard_sends_arrives_with_either_client(
    hub: Hub, version: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python = sys.executable if version == "2.x" else request.getfixturevalue("old_python")
    for name in (guard.ADAPTER, "checkpoint-4/training_state.json", f"checkpoint-4/{guard.ADAPTER}"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    repository = f"guarded-{version.replace('.', '-')}"
    lease = {"repo": repository, "output_dir": str(tmp_path), "hub_python": python}
    tokens = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}

    for progress in ({"phase": "training", "checkpoints": [4]}, {"phase": "finished", "checkpoints": [4]}):
        sent, said = guard.deliver(lease, progress, tokens, 60)
        assert sent, said
    listed = hub.call("GET", f"/api/models/rehearsal/{repository}/tree/main?recursive=true").json()
    assert {each["path"] for each in listed if each["type"] == "file"} >= {
        guard.ADAPTER, guard.FINISHED, "checkpoint-4/training_state.json", f"checkpoint-4/{guard.ADAPTER}",
    }  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_the_token_tells_who_one_is_and_that_one_may_write(client):
    told = client("whoami")
    assert (told["name"], told["auth"]["accessToken"]["role"]) == ("rehearsal", "write")


def test_a_token_of_nobody_is_refused(client):
    assert client.error("whoami", token="hf_nobody")[1] == 401


def test_the_whole_tiny_flux_arrives_unchanged(client, tmp_path):
    client("snapshot_download", repo_id=MODEL, local_dir=str(tmp_path))
    assert digests(tmp_path) == digests(TINY_FLUX)


def test_the_gated_model_needs_a_token(client, tmp_path):
    arguments = {"repo_id": MODEL, "filename": "model_index.json", "local_dir": str(tmp_path)}
    assert client.error("hf_hub_download", token=False, **arguments) == ("GatedRepoError", 401)


def test_a_gated_model_whose_terms_were_not_accepted_is_forbidden(client, tmp_path):
    arguments = {"repo_id": REFUSED_MODEL, "filename": "model_index.json", "local_dir": str(tmp_path)}
    assert client.error("hf_hub_download", **arguments) == ("GatedRepoError", 403)


def test_access_can_be_asked_for_without_a_download(client):
    client("auth_check", repo_id=MODEL)
    assert client.error("auth_check", repo_id=REFUSED_MODEL) == ("GatedRepoError", 403)


def test_an_uploaded_folder_comes_back_as_it_was(client, tmp_path):
    sent, received = tmp_path / "sent", tmp_path / "received"
    (sent / "assets").mkdir(parents=True)
    (sent / "adapter.safetensors").write_bytes(os.urandom(11 << 20))
    (sent / "assets/image 0.png").write_bytes(b"\x89PNG\0" + os.urandom(100))
    (sent / "README.md").write_text("---\nlicense: other\n---\nA model card, with an é.\n")
    (sent / "empty.txt").touch()
    repository = client.repository("folder")
    client("upload_folder", repo_id=repository, folder_path=str(sent))
    client("snapshot_download", repo_id=repository, local_dir=str(received), ignore_patterns=[".gitattributes"])
    assert digests(received) == digests(sent)


def test_the_sha256_of_a_large_file_is_told_without_a_download(client):
    repository = client.repository("digest")
    weights = TINY_FLUX / "vae/diffusion_pytorch_model.safetensors"
    client("upload_file", repo_id=repository, path_or_fileobj=str(weights), path_in_repo="/weights.safetensors")
    siblings = client("model_info", repo_id=repository, files_metadata=True)["siblings"]
    told = {sibling["rfilename"]: sibling["lfs"] for sibling in siblings}
    assert told["weights.safetensors"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_files_are_listed_by_name_and_by_folder(client, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.txt").write_text("c")
    repository = client.repository("listed")
    client("upload_folder", repo_id=repository, folder_path=str(tmp_path))
    assert client("list_repo_files", repo_id=repository) == [".gitattributes", "a/b/c.txt"]
    found = client("get_paths_info", repo_id=repository, paths=["a", "a/b/c.txt", "absent"])
    assert [info["path"] for info in found] == ["a", "a/b/c.txt"]


def test_every_push_is_a_commit_and_earlier_ones_stay_readable(client, tmp_path):
    repository = client.repository("history")
    for text in ("first", "second"):
        (tmp_path / "step.txt").write_text(text)
        client("upload_file", repo_id=repository, path_or_fileobj=str(tmp_path / "step.txt"), path_in_repo="step.txt")
    older = client("list_repo_commits", repo_id=repository)[1]
    arguments = {"repo_id": repository, "filename": "step.txt", "local_dir": str(tmp_path / "old")}
    found = client("hf_hub_download", revision=older["commit_id"], **arguments)
    assert Path(found).read_text() == "first"


def test_a_repository_exists_once(client):
    repository = client.repository("once")
    client("create_repo", repo_id=repository, exist_ok=True)
    assert client.error("create_repo", repo_id=repository)[1] == 409


def test_nobody_writes_where_they_may_not(client):
    assert client.error("create_repo", repo_id="somebody-else/model")[1] == 403
    arguments = {"path_or_fileobj": str(TINY_FLUX / "README.md"), "path_in_repo": "README.md"}
    assert client.error("upload_file", repo_id=MODEL, **arguments)[1] == 403


def test_a_private_repository_is_unknown_to_strangers(client):
    repository = f"rehearsal/{client.name}-private"
    client("create_repo", repo_id=repository, private=True)
    assert client.error("model_info", repo_id=repository, token=False) == ("RepositoryNotFoundError", 401)


def test_what_is_absent_is_said_to_be_absent(client, tmp_path):
    arguments = {"repo_id": MODEL, "filename": "absent.json", "local_dir": str(tmp_path)}
    assert client.error("hf_hub_download", **arguments)[0] in ("EntryNotFoundError", "RemoteEntryNotFoundError")
    assert client.error("model_info", repo_id=MODEL, revision="absent") == ("RevisionNotFoundError", 404)
    assert client.error("model_info", repo_id="rehearsal/absent") == ("RepositoryNotFoundError", 404)


def test_files_folders_and_repositories_can_be_deleted(client, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/in.txt").write_text("in")
    (tmp_path / "out.txt").write_text("out")
    repository = client.repository("deleted")
    client("upload_folder", repo_id=repository, folder_path=str(tmp_path))
    client("delete_file", repo_id=repository, path_in_repo="out.txt")
    client("delete_folder", repo_id=repository, path_in_repo="a")
    assert client("list_repo_files", repo_id=repository) == [".gitattributes"]
    client("delete_repo", repo_id=repository)
    assert client.error("model_info", repo_id=repository) == ("RepositoryNotFoundError", 404)


def test_a_model_card_that_cannot_be_read_is_not_committed(client, tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: [other\n---\n")
    repository = client.repository("card")
    refused = client.error("upload_folder", repo_id=repository, folder_path=str(tmp_path))
    assert refused[0] == "ValueError"
    assert client("list_repo_files", repo_id=repository) == [".gitattributes"]


def test_a_full_hub_refuses_uploads_and_still_serves(client, hub, tmp_path):
    repository = client.repository("full")
    hub.call("POST", "/rehearsal/faults", json={"name": "hub_full"}).raise_for_status()
    arguments = {"path_or_fileobj": str(TINY_FLUX / "model_index.json"), "path_in_repo": "a.json"}
    assert client.error("upload_file", repo_id=repository, **arguments)[1] == 403
    client("upload_file", repo_id=repository, **arguments)


def test_a_file_is_described_as_the_clients_need_it(hub):
    weights = TINY_FLUX / "transformer/diffusion_pytorch_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    reply = hub.call("HEAD", f"/{MODEL}/resolve/main/transformer/diffusion_pytorch_model.safetensors")
    told = {name: reply.headers[name] for name in ("ETag", "X-Linked-Etag", "X-Linked-Size", "Content-Length")}
    size = str(weights.stat().st_size)
    assert told == {
        "ETag": f'"{digest}"',
        "X-Linked-Etag": f'"{digest}"',
        "X-Linked-Size": size,
        "Content-Length": size,
    }
    assert reply.headers["X-Repo-Commit"] == hub.call("GET", f"/api/models/{MODEL}").json()["sha"]


def test_no_answer_offers_xet(hub):
    weights = hub.call("HEAD", f"/{MODEL}/resolve/main/transformer/diffusion_pytorch_model.safetensors")
    assert not [name for name in weights.headers if "xet" in name.lower()]
    hub.call("POST", "/api/repos/create", json={"name": "transfer"}).raise_for_status()
    asked = {"operation": "upload", "transfers": ["xet", "multipart", "basic"], "objects": []}
    reply = hub.call("POST", "/rehearsal/transfer.git/info/lfs/objects/batch", json=asked)
    assert reply.json()["transfer"] == "basic"


def test_a_download_can_be_continued_in_the_middle(hub):
    content = (TINY_FLUX / "tokenizer/vocab.json").read_bytes()
    reply = hub.call("GET", f"/{MODEL}/resolve/main/tokenizer/vocab.json", headers={"Range": "bytes=100-"})
    assert (reply.status_code, reply.content) == (206, content[100:])
    assert reply.headers["Content-Range"] == f"bytes 100-{len(content) - 1}/{len(content)}"


def test_the_model_has_the_same_commit_in_every_hub(hub, tmp_path):
    with serving(tmp_path) as other:
        assert (
            other.call("GET", f"/api/models/{MODEL}").json()["sha"]
            == (hub.call("GET", f"/api/models/{MODEL}").json()["sha"])
        )


def test_what_was_uploaded_survives_the_process(tmp_path):
    with serving(tmp_path) as first:
        first.call("POST", "/api/repos/create", json={"name": "kept"}).raise_for_status()
        first.commit("rehearsal/kept", path="a.txt", content=base64.b64encode(b"kept").decode()).raise_for_status()
    with serving(tmp_path) as second:
        assert second.call("GET", "/rehearsal/kept/resolve/main/a.txt").content == b"kept"


@pytest.mark.parametrize(
    "path", ["../escaped.txt", "/etc/escaped.txt", "a/../../escaped.txt", "a//b", ".git/config", ""]
)
def test_a_path_that_leads_elsewhere_is_refused(hub, path):
    hub.call("POST", "/api/repos/create", json={"name": "paths"})
    assert hub.commit("rehearsal/paths", path=path, content="YQ==").status_code == 400
    assert not list(hub.state.parent.rglob("escaped.txt"))


@pytest.mark.parametrize("name", ["..", "../../escaped", "a/b", "", ".hidden", "x.git", "a" * 100])
def test_a_repository_name_that_leads_elsewhere_is_refused(hub, name):
    assert hub.call("POST", "/api/repos/create", json={"name": name}).status_code == 400


def test_a_large_file_that_is_not_what_was_announced_is_not_kept(hub):
    hub.call("POST", "/api/repos/create", json={"name": "announced"})
    digest = hashlib.sha256(b"announced").hexdigest()
    upload = hub.batch("rehearsal/announced", digest, 9)["actions"]["upload"]["href"]
    assert requests.put(upload, data=b"different", timeout=20).status_code == 400
    assert requests.put(upload, data=b"announced and more", timeout=20).status_code == 400
    assert "actions" in hub.batch("rehearsal/announced", digest, 9)
    assert not list(hub.state.rglob("*.part"))


def test_a_large_file_needs_the_signed_address(hub):
    digest = hashlib.sha256(b"unsigned").hexdigest()
    assert hub.call("PUT", f"/lfs/{digest}/8?signature=00", data=b"unsigned").status_code == 403


def test_a_file_that_would_fill_the_disk_is_refused_before_it_is_sent(hub):
    hub.call("POST", "/api/repos/create", json={"name": "huge"})
    assert hub.batch("rehearsal/huge", "0" * 64, 1 << 40)["error"]["code"] == 422


def test_a_commit_upon_an_outdated_one_is_refused(hub):
    hub.call("POST", "/api/repos/create", json={"name": "outdated"})
    header = {"key": "header", "value": {"summary": "late", "parentCommit": "0" * 40}}
    reply = hub.call("POST", "/api/models/rehearsal/outdated/commit/main", data=json.dumps(header))
    assert reply.status_code == 412


@pytest.mark.parametrize("body", ["", "[]", "{", '{"key": 1}', '{"key": "file"}', '{"key": "file", "value": {}}'])
def test_a_commit_that_makes_no_sense_is_refused(hub, body):
    hub.call("POST", "/api/repos/create", json={"name": "senseless"})
    first = '{"key": "header", "value": {"summary": "a"}}\n' if body else "nothing"
    assert hub.call("POST", "/api/models/rehearsal/senseless/commit/main", data=first + body).status_code == 400


def test_a_hub_that_is_down_says_so_as_often_as_it_was_told(hub):
    hub.call("POST", "/rehearsal/faults", json={"name": "hub_down", "times": 2}).raise_for_status()
    assert [hub.call("GET", "/api/whoami-v2").status_code for _ in range(3)] == [503, 503, 200]


def test_faults_are_armed_by_the_user_and_by_name(hub):
    assert hub.call("POST", "/rehearsal/faults", token=None, json={"name": "hub_down"}).status_code == 401
    assert hub.call("POST", "/rehearsal/faults", json={"name": "hub_sings"}).status_code == 404
