#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write a corrected copy of a dataset."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from fluxlora.dataset import copy, printable
from fluxlora.errors import FluxloraError

from ..module_utils.failures import fail_with

DOCUMENTATION = r"""
module: dataset_copy
short_description: Write a corrected copy of a dataset
description:
  - Images are turned by their EXIF data, put on white if they are transparent, converted to 8 bits and full colours,
    and get the suffix of their format; captions become UTF-8 without a byte order mark; names that clash or have
    invisible characters are changed. Files without problems are copied unchanged.
  - Exact duplicates and files that cannot be decoded are left out.
  - The original is not changed. A folder with other content is not written to.
options:
  path:
    description: Folder with the images and a C(.txt) caption beside each.
    type: path
    required: true
  copy:
    description: Folder of the copy; new, empty, or an earlier copy of the same dataset.
    type: path
    required: true
  cache_dir:
    description: Folder for the cache of the dataset's files.
    type: path
attributes:
  check_mode:
    support: full
author:
  - the fluxlora developers
"""

EXAMPLES = r"""
- name: Write a corrected copy
  dataset_copy:
    path: ./my-style
    copy: ./my-style-corrected
"""

RETURN = r"""
pictures:
  description: Number of images in the copy.
  type: int
  returned: success
remade:
  description: The ones of them, by their original names, whose pixels were saved again.
  type: list
  elements: str
  returned: success
left_out:
  description: What was left out or guessed, and why, one sentence each.
  type: list
  elements: str
  returned: success
lines:
  description: The same as lines for people.
  type: list
  elements: str
  returned: success
code:
  description: The kind of failure, for programs; no_dataset, copy_in_source, foreign_folder or copy_failed.
  type: str
  returned: failure
hint:
  description: What to do next, for people.
  type: str
  returned: failure
"""

ARGUMENT_SPEC = {
    "path": {"type": "path", "required": True},
    "copy": {"type": "path", "required": True},
    "cache_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(ARGUMENT_SPEC, supports_check_mode=True)
    target = Path(module.params["copy"])
    cache = Path(module.params["cache_dir"]) if module.params["cache_dir"] else None
    try:
        wanted = copy.draw_up(Path(module.params["path"]), cache_dir=cache)
        changed = not copy.is_written(wanted, target)
        failed = () if module.check_mode else copy.write(wanted, target)
    except FluxloraError as error:
        fail_with(module, error)
    left_out = [*wanted.left_out, *failed]
    remade = [printable(item.source) for item in wanted.items if item.remade]
    module.exit_json(
        changed=changed,
        pictures=len(wanted.items),
        remade=remade,
        left_out=left_out,
        lines=[
            f"copy       {printable(str(target))}: {len(wanted.items)} images, {len(remade)} of them saved again",
            *(f"note       {sentence}" for sentence in left_out),
        ],
    )


if __name__ == "__main__":
    main()
