"""What the guard does over hours, on a clock that only its own waiting moves: when it sends, gives up and ends."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fluxlora.onhost import guard

BEGIN = 1_800_000_000.0
GRACE_MINUTES = 10
MINUTE = 60.0
# When the lease ends, after BEGIN.
END = 20 * MINUTE


class Enough(Exception):
    """The time that a test looks at is over."""


@dataclass
class Instance:
    """A folder as the guard finds it, a python that stands for the Hub's client, and what became of them."""

    folder: Path
    lease: dict[str, Any]
    progress: dict[str, Any]
    # In seconds after BEGIN.
    now: float = 0.0
    tries: list[float] = field(default_factory=list)
    ended: float | None = None
    looks: list[float] = field(default_factory=list)
    events: dict[float, Callable[[], None]] = field(default_factory=dict)

    def write(self) -> None:
        (self.folder / "lease.json").write_text(json.dumps(self.lease))
        (self.folder / "progress.json").write_text(json.dumps(self.progress))

    def prolong(self, seconds: float) -> None:
        self.lease["ends_at"] += seconds
        self.write()

    def note(self) -> None:
        made = self.folder / "tries"
        count = len(made.read_text().split("\n")) - 1 if made.exists() else 0
        self.tries += [self.now] * (count - len(self.tries))
        if self.ended is None and not (self.folder / "train.env").exists():
            self.ended = self.now


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """One that trains, whose lease ends in 20 minutes, whose Hub is away."""
    output = tmp_path / "output"
    output.mkdir()
    for name, program in (
        (
            "python",
            f'[ "$1" = -c ] || exit 1\ncd {tmp_path}\necho "$4" >> tries\necho "$@" >> sent\nexit $(cat status)',
        ),
        ("tmux", f'echo "$@" >> {tmp_path}/tmux-calls'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "status").write_text("1")
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_x\nHF_ENDPOINT=http://127.0.0.1:9\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    lease = {
        "ends_at": BEGIN + END, "grace_minutes": GRACE_MINUTES, "delivery_minutes": 30, "repo": "jane/my-style",
        "output_dir": str(output), "hub_python": str(tmp_path / "python"), "training_session": "training",
        "vast_url": "http://127.0.0.1:9",
    }  # fmt: skip
    training = {"phase": "training", "updated_at": BEGIN, "started_at": 1.0, "checkpoints": [4, 12]}
    return Instance(tmp_path, lease, training)


@pytest.fixture
def watch(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Instance]:
    """Lets the guard watch for so many seconds of its own clock."""
    sleep = time.sleep

    def run(seconds: float, by: Callable[[Path], object] = guard.watch) -> Instance:
        def wait(pause: float) -> None:
            # Python itself waits for processes in fractions of a second.
            if pause < 1:
                sleep(pause)
                return
            instance.note()
            instance.looks.append(instance.now)
            instance.now += pause
            for at in [at for at in instance.events if at <= instance.now]:
                instance.events.pop(at)()
            if instance.now > seconds:
                raise Enough

        instance.write()
        monkeypatch.setattr("time.sleep", wait)
        monkeypatch.setattr("time.time", lambda: BEGIN + instance.now)
        with pytest.raises(Enough):
            by(instance.folder)
        instance.note()
        return instance

    return run


def finished(**more: Any) -> dict[str, Any]:
    return {"phase": "finished", "updated_at": BEGIN, "started_at": 1.0, "checkpoints": [4, 12]} | more


def test_a_guard_looks_four_times_a_minute_and_leaves_a_training_alone(instance, watch) -> None:
    watch(10 * MINUTE)
    assert instance.looks == [15.0 * look for look in range(41)]
    assert (instance.tries, instance.ended) == ([], None)
    assert not (instance.folder / "tmux-calls").exists()


def test_without_a_lease_nothing_ends(instance, watch) -> None:
    del instance.lease["ends_at"]
    watch(END)
    assert (instance.tries, instance.ended) == ([], None)


def test_at_its_end_a_lease_has_three_tries_five_minutes_apart_and_then_the_instance_ends(
    instance, watch, capsys
) -> None:
    watch(END + 20 * MINUTE)
    assert instance.tries == [END, END + 300, END + 600]
    assert instance.ended == END + 600
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("20")]
    assert [line[20:].partition(", trying")[0] for line in said] == [
        "checkpoint-12 could not be delivered: CalledProcessError",
        "the lease has ended: vast.ai did not destroy this instance",
    ], "each sentence once"


def test_the_end_of_a_lease_waits_no_longer_than_its_delivery_may_take(instance, watch) -> None:
    instance.lease["delivery_minutes"] = 4
    watch(END + 20 * MINUTE)
    assert instance.tries == [END]
    assert instance.ended == END + 4 * MINUTE


def test_what_arrived_ends_the_instance_at_once_and_is_not_sent_again(instance, watch, capsys) -> None:
    (instance.folder / "status").write_text("0")
    watch(END + 20 * MINUTE)
    assert (instance.tries, instance.ended) == ([END], END)
    assert "checkpoint-12 was delivered to the Hub" in capsys.readouterr().out
    assert (instance.folder / "tmux-calls").read_text() == "kill-session -t =training\n", (
        "nothing trains while it sends"
    )
    sent = (instance.folder / "sent").read_text()
    assert sent.startswith("-c")
    assert sent.endswith(f"jane/my-style {instance.folder}/output  checkpoint-12/* adapter.json\n")


def test_a_lease_without_anything_to_send_ends_without_waiting(instance, watch, capsys) -> None:
    instance.progress = {"phase": "caching", "updated_at": BEGIN}
    watch(END + 20 * MINUTE)
    assert (instance.tries, instance.ended) == ([], END)
    assert "there is nothing to deliver" in capsys.readouterr().out


def test_a_lease_ends_by_the_clock_of_who_wrote_it(instance, watch) -> None:
    instance.lease["clock_ahead_seconds"] = 10 * MINUTE
    instance.progress = {}
    watch(END + 20 * MINUTE)
    assert instance.ended == END + 10 * MINUTE


def test_a_new_checkpoint_has_tries_of_its_own(instance, watch) -> None:
    def another() -> None:
        instance.progress["checkpoints"] = [4, 12, 20]
        instance.write()

    instance.events[END + 400] = another
    watch(END + 20 * MINUTE)
    # 4 is the next look after 400 seconds.
    assert instance.tries == [END, END + 300, END + 405, END + 705, END + 1005]
    assert instance.ended == END + 1005


def test_a_lease_that_is_prolonged_while_the_hub_is_away_ends_nothing_before_its_new_end(instance, watch) -> None:
    instance.events[END + 400] = lambda: instance.prolong(END)
    watch(2 * END + 20 * MINUTE)
    assert instance.tries == [END, END + 300, 2 * END, 2 * END + 300, 2 * END + 600]
    assert instance.ended == 2 * END + 600


def test_a_finished_adapter_that_nobody_comes_for_is_sent_after_the_grace_and_ends_the_instance(
    instance, watch, capsys
) -> None:
    instance.progress = finished()
    (instance.folder / "status").write_text("0")
    watch(END - 15)
    assert (instance.tries, instance.ended) == ([GRACE_MINUTES * MINUTE], GRACE_MINUTES * MINUTE)
    assert "the adapter is delivered, and nobody has fetched it for 10 minutes" in capsys.readouterr().out
    written = json.loads((instance.folder / "output" / guard.FINISHED).read_text())
    assert written == instance.progress, "what it was finished with is sent with it"


def test_a_finished_adapter_that_the_hub_does_not_take_keeps_its_instance_until_the_lease_ends(instance, watch) -> None:
    instance.progress = finished()
    watch(END + 20 * MINUTE)
    grace = GRACE_MINUTES * MINUTE
    assert instance.tries == [grace, grace + 300, END, END + 300, END + 600], "its end has tries of its own"
    assert instance.ended == END + 600


def test_another_training_on_the_same_instance_is_sent_as_well(instance, watch) -> None:
    (instance.folder / "status").write_text("0")

    def again() -> None:
        (instance.folder / "train.env").write_text("HF_TOKEN=hf_x\n")
        instance.progress |= {"started_at": 2.0}
        instance.write()

    instance.events[END + 60] = again
    watch(END + 20 * MINUTE)
    assert instance.tries == [END, END + 60]


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """An address that gives these answers, the last one for ever, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            left = list(answers)
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                with peer:
                    asked.append(peer.recv(65_536))
                    peer.sendall(left.pop(0) if len(left) > 1 else left[0])

        Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def reply(status: str, body: str = "", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", body]).encode()


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[dict[str, str], str]:
    """The progress of a training that left an adapter, and the adapter's sha256."""
    path = tmp_path / "adapter"
    path.write_bytes(b"weights")
    return {"adapter": str(path)}, hashlib.sha256(b"weights").hexdigest()


def delivered(url: str, progress: dict[str, str], repo: str = "jane/my-style") -> bool:
    return guard.delivered({"repo": repo}, progress, {"HF_ENDPOINT": f"{url}/", "HF_TOKEN": "hf_x"})


def test_an_adapter_is_on_the_hub_where_the_hub_names_its_hash(adapter) -> None:
    progress, digest = adapter
    moved = reply("302 Found", Location="http://127.0.0.1:9/storage", **{"X-Linked-ETag": f'"{digest}"'})
    with answering(moved) as (url, asked):
        assert delivered(url, progress)
    assert len(asked) == 1, "the storage, to which the answer leads, must not see the token"
    assert asked[0].startswith(b"HEAD /jane/my-style/resolve/main/pytorch_lora_weights.safetensors HTTP/1.1\r\n")
    assert b"Authorization: Bearer hf_x\r\n" in asked[0]


@pytest.mark.parametrize("status", ["200 OK", "301 Moved", "302 Found", "303 See", "307 Moved", "308 Moved"])
def test_a_small_file_has_its_hash_in_another_header(adapter, status) -> None:
    progress, digest = adapter
    with answering(reply(status, ETag=f'"{digest}"', Location="http://127.0.0.1:9/")) as (url, _):
        assert delivered(url, progress)


@pytest.mark.parametrize("answer", [reply("200 OK", ETag='"other"'), reply("200 OK"), reply("404 Not Found")])
def test_what_the_hub_does_not_name_is_not_delivered(adapter, answer) -> None:
    with answering(answer) as (url, _):
        assert not delivered(url, adapter[0])


def test_a_repository_without_a_namespace_is_the_tokens_own_users(adapter) -> None:
    progress, digest = adapter
    with answering(reply("200 OK", '{"name": "jane"}'), reply("200 OK", ETag=digest)) as (url, asked):
        assert delivered(url, progress, repo="my-style")
    assert asked[0].startswith(b"GET /api/whoami-v2 HTTP/1.1\r\n")
    assert b"Authorization: Bearer hf_x\r\n" in asked[0]
    assert asked[1].startswith(b"HEAD /jane/my-style/resolve/main/")


def test_a_training_without_an_adapter_has_delivered_none(adapter, tmp_path) -> None:
    with answering(reply("200 OK", ETag=adapter[1])) as (url, asked):
        assert not delivered(url, {})
        assert not delivered(url, {"adapter": str(tmp_path / "missing")})
    assert asked == []


def test_vast_ai_is_asked_to_destroy_this_instance_with_its_own_key() -> None:
    own = {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "key"}
    with answering(reply("200 OK", '{"success": true}')) as (url, asked):
        guard.destroy(f"{url}/", own)
    assert asked[0].startswith(b"DELETE /api/v0/instances/7/ HTTP/1.1\r\n")
    assert b"Authorization: Bearer key\r\n" in asked[0]


@pytest.mark.parametrize("answer", ['{"success": false}', "{}", "[]", "nonsense"])
def test_what_is_no_agreement_leaves_the_instance_to_be_destroyed_again(answer) -> None:
    with answering(reply("200 OK", answer)) as (url, _), pytest.raises(ValueError, match=r"."):
        guard.destroy(url, {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "key"})


def lease(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"repo": "jane/my-style", "output_dir": str(tmp_path), "hub_python": sys.executable} | more


def recorder(tmp_path: Path, status: int = 0, copy: str = "") -> str:
    """A python that writes its arguments and the token that it was given; it makes this copy, or none."""
    file = tmp_path / "recorder"
    copying = f'shift; echo "$@" > copying; echo {copy}; touch {copy}; exit 0' if copy else "exit 1"
    file.write_text(
        f'#!/bin/sh\ncd {tmp_path}\nif [ "$1" != -c ]; then {copying}; fi\nls > there\n'
        'for word in "$@"; do echo "$word"; done > words\n'
        f'echo "$HF_TOKEN $HOME" > environment\ncat > stdin\necho noise\nexit {status}\n'
    )
    file.chmod(0o755)
    return str(file)


@pytest.mark.parametrize(
    ("progress", "what", "ignored", "patterns"),
    [
        (finished(), "the adapter", "checkpoint-*", ["pytorch_lora_weights.safetensors", "*.json"]),
        ({"phase": "training", "checkpoints": [4, 12, 8]}, "checkpoint-12", "", ["checkpoint-12/*", "adapter.json"]),
        ({"phase": "failed", "checkpoints": [4]}, "checkpoint-4", "", ["checkpoint-4/*", "adapter.json"]),
    ],
)
def test_what_is_sent_is_the_finished_adapter_or_the_newest_checkpoint_and_no_more(
    tmp_path, capfd, progress, what, ignored, patterns
) -> None:
    python = recorder(tmp_path)
    sent = guard.deliver(lease(tmp_path, hub_python=python), progress, {"HF_TOKEN": "hf_x"}, 60)

    assert sent == (True, f"{what} was delivered to the Hub")
    program = guard.UPLOAD.split("\n")
    words = (tmp_path / "words").read_text().split("\n")[:-1]
    assert words == ["-c", *program, "jane/my-style", str(tmp_path), ignored, *patterns]
    assert (tmp_path / "environment").read_text() == f"hf_x {os.environ['HOME']}\n"
    assert (tmp_path / "stdin").read_text() == ""
    assert "noise" not in capfd.readouterr().out, "the Hub's client may print what is secret"
    assert (tmp_path / guard.FINISHED).exists() == (what == "the adapter")


@pytest.mark.parametrize(
    ("progress", "asked"),
    [
        (finished(step=24), "--step=24"),
        (finished(), "--step=0"),
        ({"phase": "training", "checkpoints": [4, 12]}, "--checkpoint=12"),
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_the_copy_for_other_programs_is_made_sent_and_removed(tmp_path, progress, asked, status) -> None:
    python = recorder(tmp_path, status, copy="my-style.safetensors")
    guard.deliver(lease(tmp_path, hub_python=python), progress, {"HF_TOKEN": "hf_x"}, 60)

    assert (tmp_path / "copying").read_text() == f"{tmp_path} {asked}\n"
    assert (tmp_path / "words").read_text().endswith("\nmy-style.safetensors\n")
    assert "my-style.safetensors" in (tmp_path / "there").read_text().split()
    assert not (tmp_path / "my-style.safetensors").exists()


def test_an_adapter_without_a_copy_is_sent_all_the_same(tmp_path, capsys) -> None:
    assert guard.copied(lease(tmp_path, hub_python="/no/python"), ["--step=1"]) is None
    assert guard.copied(lease(tmp_path, hub_python=recorder(tmp_path)), ["--step=1"]) is None
    assert guard.copied(lease(tmp_path, hub_python="/bin/true"), ["--step=1"]) is None, "it names no file"
    assert capsys.readouterr().out.splitlines() == [
        "No copy for other programs was made: FileNotFoundError",
        "No copy for other programs was made: CalledProcessError",
        "No copy for other programs was made: IndexError",
    ]


@pytest.mark.parametrize(
    ("changes", "tokens", "progress", "arrived", "sentence"),
    [
        ({}, {"HF_TOKEN": "x"}, {}, None, "there is nothing to deliver"),
        ({}, {"HF_TOKEN": "x"}, {"checkpoints": []}, None, "there is nothing to deliver"),
        ({}, {"HF_TOKEN": "x"}, {"checkpoints": None}, None, "there is nothing to deliver"),
        ({"repo": ""}, {"HF_TOKEN": "x"}, finished(), None, "the run does not push to the Hub"),
        ({}, {}, finished(), None, "the adapter could not be delivered: the run does not push to the Hub"),
        ({}, {"HF_TOKEN": ""}, {"checkpoints": [4]}, None, "checkpoint-4 could not be delivered: the run does not"),
        ({"hub_python": "/no/python"}, {"HF_TOKEN": "x"}, finished(), False, "delivered: FileNotFoundError"),
        ({"output_dir": "/no/folder"}, {"HF_TOKEN": "x"}, finished(), False, "delivered: FileNotFoundError"),
    ],
)
def test_what_cannot_be_sent_is_tried_again_only_where_that_may_help(
    tmp_path, changes, tokens, progress, arrived, sentence
) -> None:
    found, said = guard.deliver(lease(tmp_path, hub_python=recorder(tmp_path)) | changes, progress, tokens, 60)
    assert found is arrived
    assert sentence in said


def test_sending_that_takes_too_long_or_fails_is_no_delivery(tmp_path) -> None:
    hanging = tmp_path / "hanging"
    hanging.write_text('#!/bin/sh\n[ "$1" = -c ] && exec sleep 60\nexit 1\n')
    hanging.chmod(0o755)
    progress, tokens = {"checkpoints": [4]}, {"HF_TOKEN": "x"}
    for python, error in ((str(hanging), "TimeoutExpired"), (recorder(tmp_path, 1), "CalledProcessError")):
        sent = guard.deliver(lease(tmp_path, hub_python=python), progress, tokens, 0.1 if "hang" in python else 60)
        assert sent == (False, f"checkpoint-4 could not be delivered: {error}")


def test_what_is_to_be_sent_is_another_thing_for_another_training_its_end_and_each_checkpoint() -> None:
    assert guard.sendable({}) == (None, False, 0)
    assert guard.sendable(finished()) == (1.0, True, 12)
    assert guard.sendable({"phase": "training", "started_at": 2, "checkpoints": [4]}) == (2, False, 4)


@pytest.mark.parametrize("content", ["[1]", "1", "nonsense", "", None])
def test_a_file_that_holds_no_object_says_nothing_and_ends_nothing(instance, watch, content) -> None:
    instance.progress = {}
    instance.events[15] = lambda: (instance.folder / "lease.json").write_text(content or "")
    if content is None:
        instance.events[15] = (instance.folder / "lease.json").unlink
    watch(END + MINUTE)
    assert instance.ended is None


def test_the_environment_of_the_training_is_read_as_a_shell_reads_it(tmp_path) -> None:
    file = tmp_path / "train.env"
    file.write_text("# a comment\nHF_TOKEN='hf x'\nexport WANDB=a=b # more\nalone\n")
    assert guard._variables(file) == {"HF_TOKEN": "hf x", "WANDB": "a=b"}
    file.write_text("HF_TOKEN='unclosed")
    assert guard._variables(file) == {}
    assert guard._variables(tmp_path / "missing") == {}


def test_bytes_are_counted_on_over_looks_and_written_for_the_next(tmp_path, capsys) -> None:
    file = tmp_path / "meter.json"
    file.write_text(json.dumps({"bytes_down": 5, "bytes_up": 7}))
    meter = guard.count(file)
    assert (meter["bytes_down"], meter["bytes_up"]) == (5, 7), "before its first look nothing is known"
    assert json.loads(file.read_text()) == meter
    assert [path.name for path in tmp_path.iterdir()] == ["meter.json"]
    guard.count(tmp_path / "no folder" / "meter.json")
    assert "The bytes could not be counted: FileNotFoundError" in capsys.readouterr().out


def test_a_counter_that_the_kernel_has_begun_anew_takes_nothing_away() -> None:
    meter = {"bytes_down": 10, "bytes_up": 10, "counters": {"bytes_down": 90, "bytes_up": 90, "start": "1"}}
    for start, moved in (("1", 0), ("2", 30)):
        found = guard.counted(meter, {"bytes_down": 30, "bytes_up": 30, "start": start})
        assert (found["bytes_down"], found["bytes_up"]) == (10 + moved, 10 + moved)
        assert found["counters"] == {"bytes_down": 30, "bytes_up": 30, "start": start}


def test_more_bytes_than_the_lease_allows_end_the_instance(instance, watch, capsys) -> None:
    instance.lease |= {"bytes_down": 5e11, "bytes_up": 5e11}
    instance.progress = {}
    counted = {"bytes_down": 1e12, "bytes_up": 0}
    instance.events[60] = lambda: (instance.folder / "meter.json").write_text(json.dumps(counted))
    watch(10 * MINUTE)
    assert instance.ended == 60
    assert "the lease has ended: 1000 GB were downloaded, 500 are paid for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "status", "said"),
    [
        (b"CONTAINER_ID=7\0CONTAINER_API_KEY=k\0", 0, "ready"),
        (b"CONTAINER_ID=7\0", 1, "missing: CONTAINER_API_KEY"),
        (b"", 1, "missing: CONTAINER_API_KEY, CONTAINER_ID"),
    ],
)
def test_a_check_says_whether_the_instance_can_end_itself(
    tmp_path, monkeypatch, capsys, variables, status, said
) -> None:
    # The first process of this machine is not an instance's.
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: variables if str(path) == "/proc/1/environ" else read(path))
    monkeypatch.setattr(sys, "argv", ["guard", "check", "--state", str(tmp_path)])
    assert guard.main() == status
    assert capsys.readouterr().out == f"{said}\n"


def test_the_program_watches_the_folder_that_it_is_given(instance, watch, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["guard", "watch", "--state", str(instance.folder)])
    instance.progress = {}
    watch(END + MINUTE, by=lambda folder: guard.main())
    assert instance.ended == END


@pytest.mark.parametrize("words", [["watch"], ["--state", "."], ["stay", "--state", "."]])
def test_a_call_that_does_not_say_what_to_do_where_is_refused(monkeypatch, words) -> None:
    monkeypatch.setattr(sys, "argv", ["guard", *words])
    with pytest.raises(SystemExit) as refused:
        guard.main()
    assert refused.value.code == 2


def test_the_minutes_that_nobody_came_are_said() -> None:
    done = {"phase": "finished", "updated_at": 1000.0}
    said = guard.reason_to_end(1000.0 + 120 * MINUTE, {"ends_at": 1e9, "grace_minutes": 10}, done, True, {})
    assert said == "the adapter is delivered, and nobody has fetched it for 120 minutes"


OWN = b"CONTAINER_ID=7\0CONTAINER_API_KEY=key\0BROKEN=\xff\0"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of this machine has an instance's variables."""
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: OWN if str(path) == "/proc/1/environ" else read(path))


@pytest.mark.usefixtures("own")
def test_the_instance_is_destroyed_at_the_address_of_its_lease(instance, watch, capsys) -> None:
    instance.progress = {}
    with answering(reply("200 OK", '{"success": true}')) as (url, asked):
        instance.lease["vast_url"] = url
        watch(END + 15)
    assert asked[0].startswith(b"DELETE /api/v0/instances/7/ HTTP/1.1\r\n")
    assert capsys.readouterr().out.endswith(": vast.ai agreed to destroy this instance\n")


def test_a_refusal_to_destroy_is_said_in_words() -> None:
    own = {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "key"}
    for answer, words in (('{"success": false}', "vast.ai did not agree"), ("[]", "the answer is not an object")):
        with answering(reply("200 OK", answer)) as (url, _), pytest.raises(ValueError, match=f"^{words}$"):
            guard.destroy(url, own)


def test_an_adapter_that_the_hub_has_is_asked_about_once_and_ends_its_instance(instance, watch) -> None:
    """The trainer has pushed it itself; what this guard sends is refused."""
    weights = instance.folder / "weights"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    instance.progress = finished(adapter=str(weights))
    instance.lease["ends_at"] += 60 * MINUTE
    with answering(reply("200 OK", ETag=digest)) as (url, asked):
        (instance.folder / "train.env").write_text(f"HF_TOKEN=hf_x\nHF_ENDPOINT={url}\n")
        watch(GRACE_MINUTES * MINUTE + 700)
    grace = GRACE_MINUTES * MINUTE
    assert instance.tries == [grace, grace + 300, grace + 600], "that it is finished has to be said, too"
    assert instance.ended == grace + 600
    assert len(asked) == 1


def test_a_training_that_goes_on_asks_the_hub_nothing(instance, watch) -> None:
    weights = instance.folder / "weights"
    weights.write_bytes(b"weights")
    instance.progress |= {"adapter": str(weights)}
    with answering(reply("200 OK")) as (url, asked):
        (instance.folder / "train.env").write_text(f"HF_TOKEN=hf_x\nHF_ENDPOINT={url}\n")
        watch(5 * MINUTE)
    assert asked == []


def test_a_training_that_has_ended_already_keeps_the_guard_from_nothing(instance, watch, capfd) -> None:
    (instance.folder / "tmux").write_text("#!/bin/sh\necho no such session >&2\nexit 1\n")
    (instance.folder / "status").write_text("0")
    watch(END + 15)
    assert instance.ended == END
    assert "no such session" not in capfd.readouterr().err


def test_while_a_guard_watches_no_other_begins(instance, watch) -> None:
    held: list[bool] = []

    def look() -> None:
        with (instance.folder / "guard.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(True)

    instance.events[30] = look
    watch(60)
    assert held == [True]


def test_the_copy_is_made_by_the_program_beside_the_guard_and_in_two_minutes(tmp_path, monkeypatch, capsys) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/program\nexec sleep 60\n')
    python.chmod(0o755)
    assert guard.COPY_SECONDS == 120
    monkeypatch.setattr(guard, "COPY_SECONDS", 0.2)
    assert guard.copied(lease(tmp_path, hub_python=str(python)), ["--step=1"]) is None
    assert capsys.readouterr().out == "No copy for other programs was made: TimeoutExpired\n"
    program = Path((tmp_path / "program").read_text().strip())
    assert (program.name, program.is_file()) == ("adapter_copy.py", True)


def test_a_copy_that_is_gone_when_it_was_sent_fails_nothing(tmp_path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncd {tmp_path}\n[ "$1" = -c ] && exec rm copy\ntouch copy\necho copy\n')
    python.chmod(0o755)
    sent = guard.deliver(lease(tmp_path, hub_python=str(python)), {"checkpoints": [4]}, {"HF_TOKEN": "x"}, 60)
    assert sent == (True, "checkpoint-4 was delivered to the Hub")


def test_where_there_is_nothing_to_send_just_that_is_said(tmp_path) -> None:
    assert guard.deliver(lease(tmp_path), {}, {"HF_TOKEN": "x"}, 60) == (None, "there is nothing to deliver")


def test_a_comment_behind_a_variable_is_none_of_its_own(tmp_path) -> None:
    file = tmp_path / "train.env"
    file.write_text("A=1 # B=2\n")
    assert guard._variables(file) == {"A": "1"}


def test_a_way_that_was_not_counted_or_has_no_limit_ends_nothing() -> None:
    assert guard.lease_over(0, {"ends_at": 10, "bytes_down": 0, "bytes_up": 0}, {}) is None
    assert guard.lease_over(0, {"ends_at": 10}, {"bytes_down": 1e18}) is None


def test_sending_has_a_second_at_least_before_the_lease_ends_and_what_is_left_of_its_time_after(instance) -> None:
    assert guard.delivery_seconds(10, {"delivery_minutes": 30, "ends_at": 10}, False) == 1.0
    assert guard.Delivery().seconds(10, {"delivery_minutes": 30, "ends_at": 15}, False) == 5.0
    delivery = guard.Delivery()
    assert (delivery.sent, delivery.tries) == (None, 0)
    assert delivery.due(0.5), "nothing is waited for"
    assert not guard.Delivery().hopeless(0.5)
    delivery.check(10, "x", True)
    assert delivery.due(10.5)
    assert delivery.seconds(70, {"delivery_minutes": 30, "ends_at": 10}, True) == 30 * MINUTE - 60


def test_the_help_says_what_the_program_is_for(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["guard", "--help"])
    with pytest.raises(SystemExit):
        guard.main()
    shown = capsys.readouterr().out
    assert str(guard.__doc__).strip() in shown
    assert "folder of lease.json and progress.json" in shown
