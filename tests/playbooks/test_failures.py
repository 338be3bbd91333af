"""SimpleTuner 3.1.6 exits 0 when it fails; a failed training is a failed run all the same, and a mended one goes on.

On an interruptible instance, so that it can be taken away in the end, when all that takes long has been done once.
"""

from __future__ import annotations

import json
import re

import pytest

from conftest import wait_for
from fluxlora.money.journal import Event, Journal

pytestmark = pytest.mark.timeout(1500)

RUN = "failing"
PRESETS = "512,lokr"
BUDGET_USD = 5
WISHES = {"run_presets": PRESETS, "provision_interruptible": "true", "provision_budget_usd": BUDGET_USD}
FOLDER = "/root/crash"
# A fault from outside in the real trainer, as a driver that dies would make it: the third clipping of gradients raises.
# The rehearsal's own shim is loaded all the same.
CRASH = """
import runpy, sys
runpy.run_path('/root/.fluxlora/cpu_shim/sitecustomize.py')
from importlib.abc import MetaPathFinder
class AfterTorch(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == 'accelerate.accelerator' and hasattr(sys.modules.get('torch'), 'nn'):
            import torch
            steps, clip = iter((1, 2)), torch.nn.utils.clip_grad_value_
            def clip_or_crash(*args, **kwargs):
                if next(steps, None) is None:
                    raise RuntimeError('the driver of the test went away')
                return clip(*args, **kwargs)
            torch.nn.utils.clip_grad_value_ = clip_or_crash
sys.meta_path.insert(0, AfterTorch())
"""

NO_PICTURES = {
    "id": "square_1024",
    "type": "local",
    "resolution": 1024,
    "resolution_type": "pixel_area",
    "crop": True,
    "crop_aspect": "square",
    "cache_dir_vae": "/root/SimpleTuner/cache/vae/flux/nowhere",
    "instance_data_dir": "/root/no-such-dataset",
    "caption_strategy": "textfile",
    "metadata_backend": "json",
}


def test_what_is_outbid_while_it_is_prepared_is_replaced_and_prepared_elsewhere(bench, tmp_path):
    log = tmp_path / "log"
    process = bench.start("train", RUN, log, **WISHES, simpletuner_datasets=[NO_PICTURES])
    wait_for(lambda: "TASK [simpletuner : " in log.read_text() or process.poll() is not None, 480, log)
    (first,) = bench.instances()

    bench.post(f"/rehearsal/instances/{first['id']}/outbid")

    assert process.wait(600) != 0, "there are no pictures"
    text = log.read_text()
    assert f"Instance {first['id']} of {RUN} was outbid" in text
    assert NO_PICTURES["instance_data_dir"] in text.partition("was outbid")[2], "it has got to its training"
    (second,) = bench.instances()
    assert second["machine_id"] != first["machine_id"]
    assert f"Instance {second['id']} of {RUN} may still cost $" in text
    assert f"Instance {first['id']} of {RUN} may still cost $" not in text


def test_a_failed_training_ends_the_run_with_the_trainers_own_reason_and_what_still_costs_money(bench):
    (instance,) = bench.instances()
    written = f"mkdir -p {FOLDER} && cat > {FOLDER}/sitecustomize.py <<'END'\n{CRASH}\nEND\necho ok"
    assert bench.ssh(instance, written).strip() == "ok"

    done = bench.play("train", RUN, **WISHES, run_settings="new", training_environment={"PYTHONPATH": FOLDER})

    said = done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode != 0, said
    assert "the driver of the test went away" in done.stdout, said
    assert "Traceback" not in done.stdout + done.stderr, said
    assert f"Instance {instance['id']} of {RUN} may still cost $" in done.stdout, said
    assert f"destroy.yml -e run_name={RUN}" in done.stdout, said
    assert [each["id"] for each in bench.instances()] == [instance["id"]], "nothing was delivered, so it is kept"
    assert bench.rents() == 2, "none is rented beside it"


def test_once_mended_it_trains_and_goes_on_from_its_last_checkpoint_when_the_trainer_is_killed_and_when_it_is_outbid(
    bench, tmp_path
):
    log = tmp_path / "log"
    # Steps so long that a checkpoint is at home before the next one is written; an epoch has two of them.
    slowly = {"simpletuner_gradient_accumulation_steps": 3, "simpletuner_validation_steps": 20}
    process = bench.start("train", RUN, log, **WISHES, **slowly, run_settings="new", simpletuner_max_train_steps=20)
    wait_for(lambda: "checkpoint 4 is home" in log.read_text() or process.poll() is not None, 300, log)
    (instance,) = bench.instances()
    bench.ssh(instance, "pkill -9 -f simpletuner/train.py")
    wait_for(lambda: '"restarts": 1' in bench.ssh(instance, "cat /root/.fluxlora/progress.json"), 60, log)
    assert "; its last checkpoint is [" in bench.ssh(instance, "cat /root/.fluxlora/training.log")
    wait_for(lambda: "checkpoint 8 is home" in log.read_text() or process.poll() is not None, 300, log)

    bench.post(f"/rehearsal/instances/{instance['id']}/outbid")

    assert process.wait(600) == 0, log.read_text()[-4000:]
    text = log.read_text()
    assert f"Instance {instance['id']} of {RUN} was outbid" in text
    resumed = re.split(rf"{RUN} goes on from checkpoint (?=\d)", text)[1]
    checkpoint = int(re.match(r"\d+", resumed)[0])
    assert checkpoint >= 8
    at_home = [int(step) for step in re.findall(r"checkpoint (\d+) is home", resumed)]
    assert min(at_home) >= checkpoint, "nothing was trained again"
    manifest = json.loads((bench.artifacts(RUN) / "manifest.json").read_text())
    assert manifest["steps"] == {"done": 20, "asked": 20}
    assert (manifest["adapter"]["kind"], manifest["adapter"]["learned"]) == ("lokr", True)
    journal = Journal(bench.folder / "state" / "journal.jsonl").entries(RUN)
    rented = [entry for entry in journal if entry.event is Event.RENTED]
    assert len({entry.facts["machine_id"] for entry in rented}) == bench.rents() == 3
    assert bench.instances() == []
    assert bench.get("/rehearsal/ledger")["total_usd"] <= manifest["cost_usd"]["total"] <= BUDGET_USD
