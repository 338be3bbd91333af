"""What a SimpleTuner says of many config.json, and of itself; run by that SimpleTuner's own python.

usage: judge.py QUESTIONS.json ANSWERS.json

A question is a config.json and whether there is a GPU. It is read as a training reads it, from config/config.json in
the working directory; its answer is null, or why SimpleTuner refuses it.
"""

import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import make_trainer_facts


def main(questions, answers):
    os.environ.update(CONFIG_BACKEND="json", SIMPLETUNER_LOG_LEVEL="CRITICAL")
    facts = make_trainer_facts.as_text(make_trainer_facts.facts())
    asked = json.loads(Path(questions).read_text())
    verdicts = [None] * len(asked)
    for gpu in (False, True):
        # The parser is made once a process; what comes after it runs on the machine as it is.
        with make_trainer_facts.machine(9 if gpu else None):
            make_trainer_facts.fresh("simpletuner.helpers.configuration.cmd_args").get_argument_parser()
        loader = importlib.import_module("simpletuner.helpers.configuration.loader")
        for number, question in enumerate(asked):
            if question["gpu"] is gpu:
                verdicts[number] = verdict(loader, question["config"])
    Path(answers).write_text(json.dumps({"facts": facts, "verdicts": verdicts}))


def verdict(loader, config):
    Path("config/config.json").write_text(json.dumps(config))
    try:
        return None if loader.load_config(exit_on_error=True) is not None else "no configuration"
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(*sys.argv[1:])
