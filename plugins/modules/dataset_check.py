#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/dataset_check.py."""

DOCUMENTATION = r"""
module: dataset_check
short_description: Look at every picture and caption of a dataset, and judge them as the plan does
description:
  - Reads each file as SimpleTuner will, on all cores, and says of each what will happen because of it and what fixes
    it. Shows how far it is while it reads.
  - Then judges the dataset and the variables by the rules of M(training_plan), so that both give one verdict.
  - What was read is remembered, so that only files that have changed are opened the next time.
  - Finding something is no failure; RV(errors) counts the mistakes with which a plan is refused.
options:
  path:
    description: Folder with the images and a C(.txt) caption beside each.
    type: path
    required: true
  variables:
    description: The merged variables of the run, those that M(training_plan) takes.
    type: dict
    required: true
  config:
    description: The trainer's C(config.json) as O(variables) render it; without it no name of an option is checked.
    type: dict
  backends:
    description: The trainer's C(multidatabackend.json), rendered likewise.
    type: list
    elements: dict
    default: []
  trigger_word:
    description: The word that every caption of the subject should have. None is looked for when it is empty.
    type: str
    default: ""
  regularisation_pattern:
    description: File names of pictures that show other things, as a shell would write it.
    type: str
    default: ""
  cache_dir:
    description: Folder that remembers what was read. Nothing is remembered when it is not given.
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Look at the pictures
  dataset_check:
    path: ./dataset
    variables:
      simpletuner_datasets: "{{ simpletuner_datasets }}"
    trigger_word: sksmacro
    regularisation_pattern: regularisation-*
    cache_dir: .fluxlora/datasets
"""

RETURN = r"""
images:
  description: Pictures that can be trained on.
  type: int
  returned: success
captions:
  description: Their lines of caption.
  type: int
  returned: success
size_gb:
  description: All that travels to the instance.
  type: float
  returned: success
findings:
  description: What was found, the weightiest first.
  type: list
  elements: dict
  returned: success
  contains:
    file:
      description: The file, relative to the folder.
      type: str
    effect:
      description: What will happen because of it.
      type: str
    fix:
      description: What mends it.
      type: str
    severity:
      description: C(error) ends a plan, C(warning) does not.
      type: str
    code:
      description: The kind of finding, for programs.
      type: str
errors:
  description: How many mistakes end a plan, those of the variables too.
  type: int
  returned: success
lines:
  description: The check as a person reads it.
  type: list
  elements: str
  returned: success
code:
  description: Why it failed; no_dataset or empty_dataset.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""
