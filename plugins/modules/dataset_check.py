#!/usr/bin/python
"""Documentation only: the work is done on the controller, by plugins/action/dataset_check.py."""

DOCUMENTATION = r"""
module: dataset_check
short_description: Check every image and caption of a dataset in the same way as the plan
description:
  - Reads each file as SimpleTuner does, on all cores, and returns its effect on the training and the fix. Prints its
    progress.
  - Then applies the rules of M(training_plan) to the dataset and the variables, so that both have the same result.
  - The results are cached, so that the next call opens only files that have changed.
  - A finding is not a failure; RV(errors) is the number of mistakes that make a plan fail.
options:
  path:
    description: Folder with the images and a C(.txt) caption beside each.
    type: path
    required: true
  variables:
    description: The merged variables of the run, as for M(training_plan).
    type: dict
    required: true
  config:
    description: The trainer's C(config.json), rendered from O(variables); without it no option's name is checked.
    type: dict
  backends:
    description: The trainer's C(multidatabackend.json), rendered in the same way.
    type: list
    elements: dict
    default: []
  trigger_word:
    description: The word that every caption of the subject should have. Not checked if it is empty.
    type: str
    default: ""
  regularisation_pattern:
    description: File names of images that show other things, as a shell pattern.
    type: str
    default: ""
  cache_dir:
    description: Folder for the cache. Without it nothing is cached.
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Check the images
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
  description: Number of usable images.
  type: int
  returned: success
captions:
  description: Number of their caption lines.
  type: int
  returned: success
size_gb:
  description: Size of all files that are sent to the instance, in GB.
  type: float
  returned: success
findings:
  description: The findings, the most serious first.
  type: list
  elements: dict
  returned: success
  contains:
    file:
      description: The file, relative to the folder.
      type: str
    effect:
      description: The effect on the training.
      type: str
    fix:
      description: What fixes it.
      type: str
    severity:
      description: C(error) makes a plan fail, C(warning) does not.
      type: str
    code:
      description: The kind of finding, for programs.
      type: str
errors:
  description: Number of mistakes that make a plan fail, including those in the variables.
  type: int
  returned: success
lines:
  description: The check as lines for people.
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
