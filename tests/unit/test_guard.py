"""When the guard ends its instance, and that it really does: asked of the stand-ins over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from safetensors.numpy import save_file

from fluxlora.onhost import guard

LEASE = {
    "ends_at": 10_000,
    "grace_minutes": 10,
    "delivery_minutes": 1,
    "repo": "my-style",
    "hub_python": sys.executable,
}
MOVED: dict[str, float] = {}
FINISHED = {"phase": "finished", "updated_at": 1_000}
FAILED = "checkpoint-4 could not be delivered"


@pytest.mark.parametrize(
    ("now", "progress", "delivered"),
    [
        (9_999, {}, False),
        (9_999, {"phase": "training", "updated_at": 1_000}, False),
        (9_999, FINISHED, False),
        (1_599, FINISHED, True),
        (9_999, {"phase": "failed", "updated_at": 1_000}, False),
    ],
)
def test_an_instance_lives_while_its_lease_runs_and_something_may_be_lost(now, progress, delivered):
    assert guard.reason_to_end(now, LEASE, progress, delivered, MOVED) is None


@pytest.mark.parametrize("progress", [{}, FINISHED, {"phase": "training", "updated_at": 9_999}])
def test_the_lease_ends_an_instance_whatever_it_does(progress):
    assert guard.reason_to_end(10_000, LEASE, progress, False, MOVED) == "the lease has ended"


def test_a_delivered_adapter_that_nobody_comes_for_ends_the_instance():
    assert "nobody has fetched it for 10 minutes" in str(guard.reason_to_end(1_600, LEASE, FINISHED, True, MOVED))


@pytest.mark.parametrize(
    ("now", "progress", "over", "wanted"),
    [
        (9_999, {"phase": "training", "updated_at": 1_000}, False, False),
        (1_599, FINISHED, False, False),
        (1_600, FINISHED, False, True),
        (5_000, {"phase": "training", "updated_at": 4_999}, True, True),
        (10_000, {}, True, True),
    ],
)
def test_what_the_hub_lacks_is_sent_when_nobody_else_will(now, progress, over, wanted):
    assert guard.wants_delivery(now, LEASE, progress, over) is wanted


def test_sending_before_the_lease_ends_takes_nothing_of_the_time_that_is_kept_for_its_end():
    assert guard.delivery_seconds(9_000, LEASE, over=False) == 60
    assert guard.delivery_seconds(9_980, LEASE, over=False) == 20
    assert guard.delivery_seconds(10_020, LEASE, over=True) == 60


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        ({"bytes_down": 90e9, "bytes_up": 12e9}, None),
        ({"bytes_down": 91e9}, "the lease has ended: 91 GB were downloaded, 90 are paid for"),
        ({"bytes_up": 13e9}, "the lease has ended: 13 GB were uploaded, 12 are paid for"),
    ],
)
def test_more_bytes_than_are_paid_for_end_the_lease(moved, said):
    assert guard.lease_over(5_000, LEASE | {"bytes_down": 90e9, "bytes_up": 12e9}, moved) == said


def test_bytes_are_counted_over_starts_of_the_instance_from_the_guards_first_look_on():
    meter = guard.counted({}, {"bytes_down": 500, "bytes_up": 50, "start": "1"})
    meter = guard.counted(meter, {"bytes_down": 700, "bytes_up": 90, "start": "1"})
    assert (meter["bytes_down"], meter["bytes_up"]) == (200, 40)

    meter = guard.counted(meter, {"bytes_down": 800, "bytes_up": 5, "start": "2"})
    assert (meter["bytes_down"], meter["bytes_up"]) == (1000, 45)


def test_the_kernels_counters_are_read_without_the_loopback(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "1").mkdir()
    heads = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n"
    rows = "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n  eth0:1000 1 0 0 0 0 0 0 70 1 0 0 0 0 0 0\n"
    (tmp_path / "net" / "dev").write_text(heads + rows)
    (tmp_path / "1" / "stat").write_text("1 (a (b) c) S " + " ".join(str(n) for n in range(4, 30)))

    assert guard.counters(tmp_path) == {"bytes_down": 1000, "bytes_up": 70, "start": "22"}


def test_the_meter_goes_on_in_its_file(tmp_path):
    first, second = (guard.count(tmp_path / "meter.json") for _ in range(2))

    assert first["bytes_down"] == 0
    assert second["bytes_down"] >= 0
    assert json.loads((tmp_path / "meter.json").read_text()) == second


def own(rented) -> dict[str, str]:
    return {
        "CONTAINER_ID": str(rented["new_contract"]),
        "CONTAINER_API_KEY": rented["instance_api_key"],
    }


def test_the_instances_own_key_destroys_it(vast):
    rented = vast.rent()

    guard.destroy(vast.url, own(rented))

    assert vast.instance(rented["new_contract"]) is None


def test_the_instances_own_key_destroys_no_other(vast):
    mine, other = vast.rent(), vast.rent_running()

    with pytest.raises((OSError, ValueError)):
        guard.destroy(vast.url, own(mine) | {"CONTAINER_ID": str(other["id"])})

    assert vast.instance(other["id"])["id"] == other["id"]


@pytest.fixture(
    params=[b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[]"],
    ids=["no HTTP", "half of it", "a list"],
)
def odd_url(request) -> Iterator[str]:
    """Where everything is answered, and nothing as it should be."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as peer:
                        peer.recv(65_536)
                        peer.sendall(request.param)

        Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_no_answer_is_odd_enough_to_end_the_guard(odd_url, adapter):
    with pytest.raises((OSError, ValueError)):
        guard.destroy(odd_url, {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "k"})
    assert not guard.delivered(LEASE, {"adapter": str(adapter)}, {"HF_ENDPOINT": odd_url, "HF_TOKEN": "hf_x"})


def test_a_file_that_holds_anything_else_than_an_object_says_nothing(tmp_path):
    (tmp_path / "lease.json").write_text("[1]")
    assert guard._read(tmp_path / "lease.json") == {}


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "pytorch_lora_weights.safetensors"
    path.write_bytes(b"adapter" * 1000)
    return path


@pytest.fixture
def hub(vast, adapter: Path) -> dict[str, str]:
    """The Hub's stand-in, holding the adapter in the repository of the lease."""
    tokens = vast.hub_environment
    environment = {**os.environ, **tokens}
    program = (
        "import sys, huggingface_hub as hub; name, path, target = sys.argv[1:];"
        "repo = hub.create_repo(name, exist_ok=True).repo_id;"
        "hub.upload_file(path_or_fileobj=path, path_in_repo=target, repo_id=repo)"
    )
    subprocess.run([sys.executable, "-c", program, LEASE["repo"], adapter, adapter.name], env=environment, check=True)
    return tokens


def test_an_adapter_that_the_hub_holds_is_delivered(hub, adapter):
    assert guard.delivered(LEASE, {"adapter": str(adapter)}, hub)


def test_another_adapter_than_the_hubs_is_not_delivered(hub, adapter):
    adapter.write_bytes(b"other" * 1000)

    assert not guard.delivered(LEASE, {"adapter": str(adapter)}, hub)


@pytest.mark.parametrize("tokens", [{}, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}])
def test_a_hub_that_cannot_be_asked_has_delivered_nothing(adapter, tokens):
    assert not guard.delivered(LEASE, {"adapter": str(adapter)}, tokens)


@pytest.fixture
def cut_short(tmp_path: Path) -> dict[str, object]:
    """A lease over the folder of a training that has two checkpoints."""
    for step in (4, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "training_state.json").write_text("{}")
        (tmp_path / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors").write_bytes(b"%d" % step * 1000)
    return LEASE | {"output_dir": str(tmp_path), "repo": f"cut-short-{tmp_path.name}"}


def hub_files(vast, name: str, environment: dict[str, str]) -> list[str]:
    program = (
        "import sys, huggingface_hub as hub; api = hub.HfApi();"
        "print(*api.list_repo_files(api.whoami()['name'] + '/' + sys.argv[1]))"
    )
    command = [sys.executable, "-c", program, name]
    told = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return told.stdout.split()


def test_a_training_that_is_cut_short_leaves_its_newest_checkpoint_on_the_hub(vast, cut_short):
    tokens = vast.hub_environment

    sent = guard.deliver(cut_short, {"phase": "training", "checkpoints": [4, 12]}, tokens, 60)

    assert sent == (True, "checkpoint-12 was delivered to the Hub")
    files = hub_files(vast, str(cut_short["repo"]), tokens)
    of_a_checkpoint = ["checkpoint-12/pytorch_lora_weights.safetensors", "checkpoint-12/training_state.json"]
    assert sorted(name for name in files if "/" in name) == of_a_checkpoint


def test_the_copy_that_every_program_loads_is_sent_along_and_does_not_stay(vast, cut_short):
    tokens, output = vast.hub_environment, Path(str(cut_short["output_dir"]))
    halves = {f"transformer.proj_out.lora.{end}.weight": np.ones((4, 4), np.float32) for end in ("down", "up")}
    save_file(halves, output / "checkpoint-12" / "pytorch_lora_weights.safetensors")
    (output / "adapter.json").write_text(json.dumps({"run": "my-style", "alpha": 8.0, "header": {}}))
    lease = cut_short | {"hub_python": sys.executable}

    sent = guard.deliver(lease, {"phase": "training", "checkpoints": [4, 12]}, tokens, 60)

    assert sent[0] is True
    files = hub_files(vast, str(cut_short["repo"]), tokens)
    assert {"my-style-step00000012.safetensors", "adapter.json"} <= set(files)
    assert list(output.glob("*.safetensors")) == []


def test_a_finished_adapter_whose_push_had_failed_is_delivered(vast, cut_short, adapter):
    tokens = vast.hub_environment
    finished = {"phase": "finished", "checkpoints": [4, 12], "adapter": str(adapter)}
    assert not guard.delivered(cut_short, finished, tokens)

    sent = guard.deliver(cut_short, finished, tokens, 60)

    assert sent == (True, "the adapter was delivered to the Hub")
    files = hub_files(vast, str(cut_short["repo"]), tokens)
    assert [name for name in files if name.startswith("checkpoint")] == [], "half a checkpoint would be gone on from"
    assert guard.delivered(cut_short, finished, tokens)


@pytest.mark.parametrize(
    ("changes", "progress", "arrived", "sentence"),
    [
        ({}, {"phase": "caching"}, None, "there is nothing to deliver"),
        ({"repo": ""}, {"checkpoints": [4]}, None, f"{FAILED}: the run does not push to the Hub"),
        ({}, {"checkpoints": [4]}, False, f"{FAILED}: CalledProcessError"),
        ({"hub_python": "/no/python"}, {"checkpoints": [4]}, False, f"{FAILED}: FileNotFoundError"),
    ],
)
def test_what_cannot_be_delivered_is_said_and_ends_nothing(cut_short, changes, progress, arrived, sentence):
    tokens = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_x"}

    assert guard.deliver(cut_short | changes, progress, tokens, 60) == (arrived, sentence)


def test_the_first_processs_variables_are_read_as_they_are(tmp_path):
    (tmp_path / "environ").write_bytes(b"CONTAINER_ID=7\0CONTAINER_API_KEY=a=b\0\0junk")

    assert guard.identity(tmp_path / "environ") == {"CONTAINER_ID": "7", "CONTAINER_API_KEY": "a=b"}


def test_a_guard_without_a_lease_waits(tmp_path):
    process = subprocess.Popen([sys.executable, guard.__file__, "watch", "--state", tmp_path])
    time.sleep(1)
    running = process.poll() is None
    process.kill()
    process.wait()

    assert running


OVER = LEASE | {"ends_at": 1, "vast_url": "http://127.0.0.1:9", "training_session": "none"}


def test_the_tokens_are_gone_before_the_guard_gives_the_instance_back(tmp_path):
    (tmp_path / "lease.json").write_text(json.dumps(OVER))
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_geheim\n")
    command = [sys.executable, guard.__file__, "watch", "--state", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline(), process.stdout.readline()]
        process.kill()

    assert "trying again" in said[-1], said
    assert not (tmp_path / "train.env").exists()


def gone(file: Path) -> bool:
    """Within ten seconds."""
    deadline = time.monotonic() + 10
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not file.exists()


def test_a_lease_ends_by_the_clock_of_the_computer_that_wrote_it(tmp_path):
    behind = {"ends_at": time.time() + 3600, "clock_ahead_seconds": -7200}
    (tmp_path / "lease.json").write_text(json.dumps(OVER | behind))
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_geheim\n")
    process = subprocess.Popen([sys.executable, guard.__file__, "watch", "--state", str(tmp_path)])
    ended = gone(tmp_path / "train.env")
    process.kill()
    process.wait()

    assert ended


@contextlib.contextmanager
def watching(
    state: Path, tokens: dict[str, str], lease: dict[str, object], progress: dict[str, object], retry: float = 300
) -> Iterator[None]:
    """A guard in a hurry over an instance in this state."""
    state.mkdir()
    (state / "lease.json").write_text(json.dumps(OVER | lease))
    (state / "progress.json").write_text(json.dumps(progress))
    (state / "train.env").write_text("".join(f"{name}={value}\n" for name, value in tokens.items()))
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import guard;"
        "guard.LOOK_SECONDS, guard.RETRY_SECONDS = 0.1, float(sys.argv[3]); guard.watch(pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, Path(guard.__file__).parent, state, str(retry)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def left_alone(adapter: Path, **changes: object) -> tuple[dict[str, object], dict[str, object]]:
    """Lease and progress of a training that was finished long ago."""
    lease = {"ends_at": time.time() + 3600, "output_dir": str(adapter.parent), **changes}
    return lease, {"phase": "finished", "updated_at": 1, "adapter": str(adapter)}


def python(folder: Path, before: str) -> str:
    """An interpreter that does this first."""
    file = folder / "python"
    file.write_text(f'#!/bin/sh\n{before}\nexec {sys.executable} "$@"\n')
    file.chmod(0o755)
    return str(file)


def test_a_pushed_adapter_is_left_with_the_word_that_it_is_finished(vast, hub, adapter, tmp_path):
    with watching(tmp_path / "state", hub, *left_alone(adapter)):
        assert gone(tmp_path / "state" / "train.env")

    assert guard.FINISHED in hub_files(vast, str(LEASE["repo"]), hub)


def test_where_the_hub_does_not_take_that_word_it_is_tried_again_and_then_the_adapter_alone_must_do(
    hub, adapter, tmp_path
):
    with watching(tmp_path / "patient", hub, *left_alone(adapter, hub_python="/no/python")):
        time.sleep(1)
        assert (tmp_path / "patient" / "train.env").exists(), "the next train would train it again"

    with watching(tmp_path / "tired", hub, *left_alone(adapter, hub_python="/no/python"), retry=0.1):
        assert gone(tmp_path / "tired" / "train.env"), "an instance that does nothing would cost all of its lease"


def test_the_end_of_the_lease_waits_for_a_hub_that_is_down_for_a_moment(vast, cut_short, tmp_path):
    tokens = vast.hub_environment
    once = python(tmp_path, f"[ -e {tmp_path}/tried ] || {{ touch {tmp_path}/tried; exit 1; }}")
    lease = cut_short | {"ends_at": time.time() - 1, "delivery_minutes": 30, "hub_python": once}
    with watching(tmp_path / "state", tokens, lease, {"phase": "training", "checkpoints": [4, 12]}, retry=0.1):
        assert gone(tmp_path / "state" / "train.env")

    assert "checkpoint-12/training_state.json" in hub_files(vast, str(cut_short["repo"]), tokens)


def test_a_lease_that_is_prolonged_while_the_guard_sends_is_a_lease(vast, cut_short, tmp_path):
    tokens = vast.hub_environment
    state = tmp_path / "state"
    prolonged = tmp_path / "prolonged.json"
    prolonged.write_text(json.dumps(OVER | {"ends_at": time.time() + 3600}))
    lease = cut_short | {
        "ends_at": time.time() - 1,
        "hub_python": python(tmp_path, f"mv {prolonged} {state}/lease.json"),
    }
    with watching(state, tokens, lease, {"phase": "training", "checkpoints": [4, 12]}, retry=0.1):
        deadline = time.monotonic() + 10
        while prolonged.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(3)
        assert (state / "train.env").exists(), "somebody has paid for more"

    assert "checkpoint-12/training_state.json" in hub_files(vast, str(cut_short["repo"]), tokens)


def test_without_tmux_the_guard_ends_its_instance_all_the_same(monkeypatch):
    monkeypatch.setenv("PATH", "")
    guard._end_training(OVER)


def orphan(vast, tmp_path: Path, rented) -> subprocess.Popen[bytes]:
    """The program of onstart on an instance that has no guard yet, or has one."""
    (tmp_path / "environ").write_text("\0".join(f"{name}={value}" for name, value in own(rented).items()))
    program = Path(guard.__file__).with_name("destroy_unless_guarded.py").read_text()
    lease, environ = tmp_path / "lease.json", tmp_path / "environ"
    return subprocess.Popen([sys.executable, "-c", program, vast.url, "0", lease, environ])


def test_an_instance_that_no_guard_has_come_to_ends_itself(vast, tmp_path):
    rented = vast.rent()
    program = orphan(vast, tmp_path, rented)
    deadline = time.monotonic() + 10
    while vast.ledger()["instances_left"] and time.monotonic() < deadline:
        time.sleep(0.05)
    program.kill()
    program.wait()

    assert vast.ledger()["instances_left"] == 0


def test_an_instance_that_has_a_guard_is_left_to_it(vast, tmp_path):
    (tmp_path / "lease.json").write_text("{}")
    orphan(vast, tmp_path, vast.rent()).wait(10)

    assert vast.ledger()["instances_left"] == 1


def test_a_guard_that_ended_with_its_container_is_back_with_the_next_start(vast, tmp_path):
    shutil.copy(guard.__file__, tmp_path)
    (tmp_path / "lease.json").write_text(json.dumps(OVER))
    (tmp_path / "train.env").write_text("HF_TOKEN=hf_geheim\n")
    program = orphan(vast, tmp_path, vast.rent())
    ended = gone(tmp_path / "train.env")
    program.kill()
    program.wait()

    assert ended


def test_of_two_guards_the_second_waits_for_the_end_of_the_first(tmp_path):
    command = [sys.executable, guard.__file__, "watch", "--state", str(tmp_path)]
    first = subprocess.Popen(command)
    meter, deadline = tmp_path / "meter.json", time.monotonic() + 10
    while not meter.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    meter.unlink()
    second = subprocess.Popen(command)
    time.sleep(1)
    waited = not meter.exists()
    first.kill()
    first.wait()
    while not meter.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    took_over = meter.exists()
    second.kill()
    second.wait()

    assert (waited, took_over) == (True, True)


def test_what_is_run_at_each_start_fits_into_what_vast_ai_takes():
    assert len(Path(guard.__file__).with_name("destroy_unless_guarded.py").read_text()) < 2000
