#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Read the NVIDIA driver's version, the newest CUDA that it supports, and the GPUs."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: cuda_driver_info
short_description: Read the NVIDIA driver's version, the newest CUDA that it supports, and the GPUs
description:
  - Calls C(nvidia-smi). If it is missing or fails, this is a result and not a failure of this module.
options: {}
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Ask the driver
  cuda_driver_info:
  register: __cuda_driver
"""

RETURN = r"""
driver_version:
  description: The driver's version; null if there is none.
  returned: success
  type: str
  sample: 570.124.06
cuda_version:
  description: The newest CUDA that the driver supports; null if there is no driver.
  returned: success
  type: str
  sample: "12.8"
gpus:
  description: Name, compute capability (null if unknown) and memory in MiB of each GPU.
  returned: success
  type: list
  elements: dict
  sample: [{name: NVIDIA GeForce RTX 4090, compute_capability: "8.9", memory_mib: 24564}]
problem:
  description: Why there is no driver; null if there is one.
  returned: success
  type: str
  sample: nvidia-smi is not on this host.
"""

QUERY = "--query-gpu=driver_version,name,compute_cap,memory.total"
# Drivers from 610 on call it "CUDA UMD Version".
CUDA = re.compile(r"CUDA(?: UMD)? Version:\s*(\d+\.\d+)")
# Seconds. The first call on a host without the persistence daemon starts the driver; a broken one hangs.
TIMEOUT = 60


class NoDriver(Exception):
    """The error of nvidia-smi."""


def main() -> None:
    module = AnsibleModule({}, supports_check_mode=True)
    nothing: dict[str, Any] = {"driver_version": None, "cuda_version": None, "gpus": []}
    try:
        module.exit_json(changed=False, problem=None, **ask())
    except NoDriver as error:
        module.exit_json(changed=False, problem=str(error), **nothing)


def ask() -> dict[str, Any]:
    """Return versions and GPUs. Raises NoDriver."""
    cuda = CUDA.search(nvidia_smi())
    if not cuda:
        raise NoDriver("nvidia-smi names no CUDA version.")
    rows = [
        [field.strip() for field in line.split(",")]
        for line in nvidia_smi(QUERY, "--format=csv,noheader,nounits").splitlines()
    ]
    gpus = [gpu(row) for row in rows if len(row) == 4]
    if not gpus:
        raise NoDriver("nvidia-smi lists no GPU.")
    return {"driver_version": rows[0][0], "cuda_version": cuda[1], "gpus": [gpu(row) for row in rows]}


def fields(line: str) -> list[str]:
    """Return the rows of a query of nvidia-smi. Raises NoDriver."""
    return [field.strip() for field in line.split(",")]


def gpu(row: list[str]) -> dict[str, Any]:
    """Return one GPU from a row of nvidia-smi."""
    _, name, capability, memory = row
    return {
        "name": name,
        "compute_capability": capability if re.fullmatch(r"\d+\.\d+", capability) else None,
        "memory_mib": int(memory) if memory.isdigit() else None,
    }


def nvidia_smi(*arguments: str) -> str:
    """Return the output of nvidia-smi. Raises NoDriver."""
    command = shutil.which("nvidia-smi")
    if not command:
        raise NoDriver("nvidia-smi is not on this host.")
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoDriver(f"nvidia-smi does not run: {error}.") from error
    if done.returncode:
        raise NoDriver(f"nvidia-smi failed ({done.returncode}): {(done.stdout + done.stderr).strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
