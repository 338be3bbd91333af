"""What the doctor makes of what it saw: pure judgements, the ssh key by ssh-keygen itself, each remedy tried out."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from fluxlora.doctor import Check, State, lines
from fluxlora.doctor.account import Account, clock, credit, key, registered
from fluxlora.doctor.checks import failed, ok
from fluxlora.doctor.computer import programs, room, versions
from fluxlora.doctor.keypair import DEFAULT, examine
from fluxlora.doctor.proxy import examine as proxy
from fluxlora.doctor.wandb_key import examine as wandb
from remote import keygen

LOCK = Path(__file__).parents[2] / "requirements.lock"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    folder = tmp_path / "my keys"
    folder.mkdir()
    return keygen(folder / "id_ed25519")


def code(check: Check) -> str:
    """Of a check that is not well; it has to say what mends it."""
    assert bool(check.remedy) == bool(check.code)
    return check.code


def test_a_table_has_a_line_for_each_check_and_a_remedy_under_what_is_not_well() -> None:
    assert lines([ok("disk", "9 GB free"), failed("ssh key", "there is none", "fluxlora init", "no_key")]) == [
        "ok          disk     9 GB free",
        "failed      ssh key  there is none",
        "                     -> fluxlora init",
    ]


@pytest.mark.parametrize(
    ("have", "expected", "budget", "found"),
    [
        (25.0, None, None, ""),
        (25.0, 3.0, 10.0, ""),
        (5.0, 3.0, 10.0, "low_credit"),
        (2.99, 3.0, None, "no_credit"),
        (0.0, None, None, "no_credit"),
        (-1.0, None, 10.0, "no_credit"),
        (None, 3.0, 10.0, "no_credit_seen"),
    ],
)
def test_credit_suffices_for_the_expected_cost_and_less_than_the_budget_is_a_warning(
    have: float | None, expected: float | None, budget: float | None, found: str
) -> None:
    assert code(credit(have, expected=expected, budget=budget)) == found


def test_missing_credit_is_told_in_dollars() -> None:
    assert credit(2.0, expected=3.5).remedy == "add at least $1.50 at https://cloud.vast.ai/billing/"


@pytest.mark.parametrize(
    ("lacks", "state"),
    [
        ([], State.OK),
        (["user_write"], State.OK),
        (["billing_read", "user_write"], State.OK),
        (["user_read"], State.WARNING),
        (["misc"], State.FAILED),
        (["instance_write", "user_read"], State.FAILED),
    ],
)
def test_a_key_that_may_not_do_what_a_run_does_is_refused(lacks: list[str], state: State) -> None:
    *_, found = key(Account(lacks=lacks))
    assert found.state is state
    assert all(name in found.sentence for name in lacks if state is State.FAILED and name != "user_read")


@pytest.mark.parametrize(
    ("account", "state"),
    [
        (Account(keys=["ssh-ed25519 A"]), State.OK),
        (Account(keys=[]), State.WARNING),
        (Account(keys=[], lacks=["user_write"]), State.FAILED),
        (Account(keys=None), State.OK),
    ],
)
def test_an_unregistered_ssh_key_is_refused_where_the_run_cannot_register_it(account: Account, state: State) -> None:
    assert registered(account, "ssh-ed25519 A", "~/.ssh/k").state is state


@pytest.mark.parametrize(("skew", "found"), [(0, ""), (119, ""), (-119, ""), (121, "clock_skewed"), (None, "no_time")])
def test_a_clock_that_is_two_minutes_wrong_is_told(skew: float | None, found: str) -> None:
    assert code(clock(skew)) == found


def test_a_clock_is_told_which_way_it_is_wrong() -> None:
    assert "5 minutes behind" in clock(300).sentence
    assert "5 minutes ahead of" in clock(-300).sentence


def test_a_sound_pair_is_ok_and_its_public_half_is_what_would_be_sent(pair: Path) -> None:
    check, public = examine(pair)
    assert check.state is State.OK
    assert public == " ".join(Path(f"{pair}.pub").read_text().split()[:2])


def test_a_key_that_is_not_there_is_made_by_init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    check, public = examine(DEFAULT.expanduser())
    assert (code(check), check.remedy, public) == ("no_key", "fluxlora init", None)
    check, _ = examine(tmp_path / "my key")
    assert check.remedy == f"fluxlora init -e provision_ssh_key_file='{tmp_path}/my key'"


def test_a_public_half_alone_is_not_written_over(pair: Path) -> None:
    pair.unlink()
    check, _ = examine(pair)
    assert code(check) == "no_key"
    assert "move both halves away" in check.remedy


def test_a_private_key_that_ssh_cannot_read_is_told_with_the_way_round_it(pair: Path) -> None:
    pair.write_bytes(pair.read_bytes().replace(b"\n", b"\r\n"))
    check, _ = examine(pair)
    assert code(check) == "key_unreadable"
    assert "fluxlora init" in check.remedy


def test_without_ssh_keygen_the_other_checks_go_on(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(pair.parent))
    check, _ = examine(pair)
    assert (code(check), check.remedy) == ("no_program", "sudo apt install openssh-client")


def test_each_way_to_mix_the_halves_up_is_named_and_nothing_is_handed_on(pair: Path, tmp_path: Path) -> None:
    other = keygen(tmp_path / "other")
    private, public = pair.read_text(), Path(f"{pair}.pub").read_text()
    mixed = {
        "private_key": (private, private),
        "not_a_public_key": (private, "~/.ssh/id_ed25519.pub\n"),
        "not_a_private_key": (public, public),
        "key_mismatch": (private, Path(f"{other}.pub").read_text()),
    }
    found = []
    for first, second in mixed.values():
        pair.write_text(first)
        Path(f"{pair}.pub").write_text(second)
        check, sent = examine(pair)
        found.append(code(check))
        assert sent is None
        assert "PRIVATE KEY-----" not in str(check)
    assert found == list(mixed)
    assert code(examine(Path(f"{pair}.pub"))[0]) == "public_for_private"


@pytest.mark.parametrize("content", [None, "rubbish", "private"])
def test_the_remedy_for_a_public_half_makes_it_whole(pair: Path, content: str | None) -> None:
    half = Path(f"{pair}.pub")
    half.unlink()
    if content:
        half.write_text(pair.read_text() if content == "private" else content)
    check, _ = examine(pair)
    subprocess.run(check.remedy, shell=True, check=True, timeout=30)
    assert examine(pair)[0].state is State.OK


def test_the_remedy_for_a_key_that_others_may_read_makes_it_whole(pair: Path) -> None:
    pair.chmod(0o644)
    check, _ = examine(pair)
    assert code(check) == "key_open"
    subprocess.run(check.remedy, shell=True, check=True, timeout=30)
    assert examine(pair)[0].state is State.OK


def test_a_passphrase_needs_an_agent_that_holds_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = keygen(tmp_path / "locked", "secret")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert code(examine(file)[0]) == "key_locked"
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:
        try:
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            ask = tmp_path / "ask"
            ask.write_text("#!/bin/sh\necho secret\n")
            ask.chmod(0o700)
            monkeypatch.setenv("SSH_ASKPASS", str(ask))
            monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
            while subprocess.run(["ssh-add", str(file)], capture_output=True, check=False, timeout=30).returncode == 2:
                assert agent.poll() is None
            assert "held by the agent" in examine(file)[0].sentence
        finally:
            agent.terminate()


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ("Host *\n  ProxyJump bastion\n", "`ssh -W [%h]:%p bastion`"),
        ("ProxyJump jane@outer,bastion:2222\n", "`ssh -W [%h]:%p -J jane@outer ssh://bastion:2222`"),
        ("ProxyCommand corkscrew proxy 8080 %h %p /secret\n", "what `ssh -G 203.0.113.1` shows as proxycommand"),
    ],
)
def test_a_proxy_that_only_the_users_ssh_config_knows_is_a_warning(
    config: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_ssh_config(config, tmp_path, monkeypatch)
    check = proxy("")
    assert check
    assert (check.state, check.code) == (State.WARNING, "proxy_not_used")
    assert check.remedy == f"set provision_ssh_proxy_command in group_vars/all.yml to {remedy}"
    named = proxy("ssh -W [%h]:%p bastion")
    assert named
    assert named.state is State.OK


@pytest.mark.parametrize("config", ["", "Host bastion\n  ProxyJump other\n", "ProxyCommand none\n", "ProxyJump none\n"])
def test_without_a_proxy_for_every_address_there_is_nothing_to_say(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_ssh_config(config, tmp_path, monkeypatch)
    assert proxy("") is None


def own_ssh_config(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real ssh, with this as the user's file: its home comes from the password database."""
    (folder / "config").write_text(text)
    program = folder / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec {shutil.which('ssh')} -F '{folder}/config' \"$@\"\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code(programs()) == ""
    for name in ("ssh", "ssh-keygen"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs().remedy == "sudo apt install rsync"


def test_other_versions_than_those_of_the_lock_are_told(tmp_path: Path) -> None:
    assert code(versions(LOCK)) == ""
    lock = tmp_path / "lock"
    lock.write_text("vastai==0.1 \\\n    --hash=sha256:0\n")
    check = versions(lock)
    assert (check.state, check.remedy) == (State.WARNING, "make setup")
    assert "for 0.1" in check.sentence


def test_a_version_of_the_lock_that_is_for_another_python_does_not_count(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    have = metadata.version("vastai")
    lock.write_text(f"vastai==0.1 ; python_version < '3' \\\nvastai=={have} ; python_version >= '3' \\\n")
    assert code(versions(lock)) == ""
    lock.write_text(f"vastai=={have} ; python_version < '3' \\\nvastai==0.1 ; python_version >= '3' \\\n")
    assert code(versions(lock)) == "other_version"


@pytest.mark.parametrize("below", ["", "artifacts"])
def test_a_place_where_no_artifacts_can_be_written_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    check = room(tmp_path / "file" / below, expected_gb=0)
    assert (code(check), check.remedy) == (
        "not_writable",
        f"set artifacts_dir to another than {tmp_path / 'file' / below}",
    )


def test_a_disk_without_room_for_the_artifacts_is_told_with_what_is_missing(tmp_path: Path) -> None:
    assert code(room(tmp_path / "not" / "yet", expected_gb=0)) == ""
    assert room(tmp_path, expected_gb=10, free_gb=4).remedy.startswith("free 7.0 GB")


@pytest.mark.parametrize(
    ("given", "mode", "report_to", "state"),
    [
        ("", "", "wandb", State.NOT_NEEDED),
        ("short", "", "none", State.NOT_NEEDED),
        ("short", "", "tensorboard", State.NOT_NEEDED),
        ("short", "offline", "wandb", State.NOT_NEEDED),
        ("short", "", "wandb", State.FAILED),
        ("a" * 39 + "!", "", "tensorboard,wandb", State.FAILED),
    ],
)
def test_a_wandb_key_is_looked_at_where_the_run_would_use_it(
    given: str, mode: str, report_to: str, state: State
) -> None:
    assert wandb(given, mode=mode, report_to=report_to, base_url="http://127.0.0.1:9").state is state


@pytest.mark.parametrize("given", ["a" * 40, "local-" + "b" * 40, "wandb_v1_" + "c" * 77])
def test_each_shape_of_a_wandb_key_is_asked_about(given: str) -> None:
    assert code(wandb(given, base_url="http://127.0.0.1:9")) == "unreachable"
