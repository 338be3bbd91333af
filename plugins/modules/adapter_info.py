#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read an adapter's file and check every number in it."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.delivery import adapter

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: adapter_info
short_description: Read an adapter's file and check every number in it
description:
  - Parses a safetensors file, recognises LoRA and LoKr, and fails if it is cut off, not finite, or not an adapter.
options:
  path:
    description: The file.
    type: path
    required: true
  sha256:
    description: The expected SHA-256, in hexadecimal; not compared if it is not given.
    type: str
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Check the adapter
  adapter_info:
    path: artifacts/my-style/pytorch_lora_weights.safetensors
  register: checked
"""

RETURN = r"""
adapter:
  description: The content of the file.
  type: dict
  returned: success
  sample:
    path: /home/jane/artifacts/my-style/pytorch_lora_weights.safetensors
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    size_bytes: 37120
    kind: lora
    rank: 16
    alpha: 16.0
    dtypes: [BF16]
    tensors: 70
    learned: true
    form: lora
    loads_in: [diffusers, ComfyUI]
code:
  description:
    - The kind of failure, for programs.
    - One of no_adapter, broken_file, incomplete, not_finite, sha256_differs.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {"path": {"type": "path", "required": True}, "sha256": {"type": "str"}}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    try:
        found = adapter.read(Path(module.params["path"]), sha256=module.params["sha256"])
    except adapter.AdapterError as error:
        fail_with(module, error)
    module.exit_json(changed=False, adapter=found.as_facts())


if __name__ == "__main__":
    main()
