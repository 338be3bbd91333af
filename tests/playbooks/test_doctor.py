"""The doctor and init as a user calls them, and a plan that ends where the doctor finds something."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

from conftest import PROJECT, Bench


def command(bench: Bench, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With a home of its own, and vast.ai's key in the official client's file rather than in the environment."""
    environment = bench.environment | {"HOME": str(home), "WANDB_MODE": "offline"}
    environment.pop("VAST_API_KEY")
    return subprocess.run(
        words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


def account_key(bench: Bench, home: Path) -> Path:
    file = home / ".config" / "vastai" / "vast_api_key"
    file.parent.mkdir(parents=True)
    file.write_text(bench.there.api_key)
    return file


def test_init_makes_and_registers_what_is_missing_once_and_only_in_earnest(paper: Bench, tmp_path: Path) -> None:
    file = account_key(paper, tmp_path)
    init = ("ansible-playbook", "-vvv", "-i", "inventory/runs.yml", "init.yml", "-e", "doctor_mint_key=true")

    checked = command(paper, tmp_path, *init, "--check")
    assert (checked.returncode, (tmp_path / ".ssh").exists()) == (0, False), checked.stdout
    assert "changed=0" not in checked.stdout
    assert paper.get("/api/v0/auth/apikeys/")["apikeys"] == []

    real = command(paper, tmp_path, *init)
    assert real.returncode == 0, real.stdout + real.stderr
    assert "changed=0" not in real.stdout
    again = command(paper, tmp_path, *init)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "changed=0" in again.stdout

    (registered,) = paper.get("/api/v0/ssh/")
    assert registered["public_key"].split()[:2] == (tmp_path / ".ssh/id_ed25519.pub").read_text().split()[:2]
    key = file.read_text().strip()
    assert key != paper.there.api_key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for done in (checked, real, again):
        assert [word for word in (key, paper.there.api_key, "PRIVATE KEY") if word in done.stdout + done.stderr] == []

    found = command(paper, tmp_path, "fluxlora", "doctor")
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"ok +ssh key at vast.ai +registered", found.stdout)

    # The guide's mistake: the halves mixed up. Nothing is written over, nothing is sent.
    shutil.copy(tmp_path / ".ssh/id_ed25519", tmp_path / ".ssh/id_ed25519.pub")
    mixed = command(paper, tmp_path, "fluxlora", "init")
    assert mixed.returncode != 0
    assert "ssh-keygen -y -f" in mixed.stdout
    assert len(paper.get("/api/v0/ssh/")) == 1


def test_the_doctor_tells_all_that_is_wrong_with_a_run_at_once_and_fails(paper: Bench, tmp_path: Path) -> None:
    gated = "doctor_model=black-forest-labs/FLUX.1-Fill-dev"
    done = command(paper, tmp_path, "fluxlora", "doctor", "my-style", "-p", "512", "-e", gated)
    assert done.returncode == 1
    assert re.search(r"failed +ssh key +there is no .*\n +-> fluxlora init\n", done.stdout)
    assert "-> open https://huggingface.co/black-forest-labs/FLUX.1-Fill-dev with the account" in done.stdout
    assert "rehearsal/my-style will be created, private" in done.stdout
    assert "vast.ai key, ssh key, hub model" in done.stdout


def test_a_run_that_costs_more_than_the_credit_is_refused_with_what_is_missing(paper: Bench) -> None:
    paper.post("/rehearsal/account", deposit=0.01)
    done = paper.play("train", "my-style", run_presets="512")
    paper.post("/rehearsal/account", deposit=25)
    assert done.returncode != 0
    assert re.search(r"add at least \$\d", done.stdout)
    assert paper.rents() == 0


def test_a_run_that_is_paid_for_already_goes_on_whatever_the_doctor_finds(paper: Bench) -> None:
    paper.more["HF_ENDPOINT"] = "http://127.0.0.1:1"
    refused = paper.play("plan", "my-style", run_presets="512")
    offer = paper.post("/api/v0/bundles/", num_gpus={"eq": 1})["offers"][0]["id"]
    instance = paper.ask("PUT", f"/api/v0/asks/{offer}/", image="x", disk=20, label="fluxlora/my-style/512")[
        "new_contract"
    ]
    done = paper.play("plan", "my-style")
    paper.ask("DELETE", f"/api/v0/instances/{instance}/")
    del paper.more["HF_ENDPOINT"]
    assert "Nothing was spent" in refused.stdout
    assert refused.returncode != 0
    assert "the Hub does not answer" in done.stdout
    assert done.returncode == 0, done.stdout
