"""Lets the unchanged trainer run on a machine without a GPU; active if its folder is on PYTHONPATH.

Python imports a module of this name automatically at its start. No installed file is changed, and with CUDA everything
below has no effect.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import version
from types import ModuleType
from typing import Any

Adjustment = Callable[[ModuleType], None]
KEPT: list[Any] = []  # a torch library loses its declarations when it is garbage-collected


def unpin(torch: ModuleType) -> None:
    """Make Tensor.pin_memory return the tensor: pinning only makes copies to a GPU faster, and raises without a
    driver."""
    if not torch.cuda.is_available():
        torch.Tensor.pin_memory = lambda tensor, *_, **__: tensor


def declare_operators(_torchvision: ModuleType) -> None:
    """Declare the two operators that torchvision describes at import, because its binary for CUDA cannot declare
    them.

    A build for the CPU, whose version ends in +cpu, declares its own.
    """
    import torch  # type: ignore[import-not-found]

    if torch.version.cuda is None and not version("torchvision").endswith("+cpu"):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)


def hide_extension(torchaudio_utils: ModuleType) -> None:
    """Report torchaudio's binary as missing, which it accepts; with a binary for CUDA it would raise."""
    import torch

    if torch.version.cuda is None:
        vars(torchaudio_utils)["_load_lib"] = lambda _name: False


BEFORE: dict[str, Adjustment] = {"torchvision": declare_operators}
AFTER: dict[str, Adjustment] = {"torch": unpin, "torchaudio._extension.utils": hide_extension}


class Adjuster(MetaPathFinder):
    """Runs an adjustment before or after the first execution of the modules above."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module, and wrap its loader if it needs an adjustment."""
        if name not in BEFORE and name not in AFTER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def adjusted(module: ModuleType) -> None:
            BEFORE.get(name, leave)(module)
            execute(module)
            AFTER.get(name, leave)(module)

        spec.loader.exec_module = adjusted  # type: ignore[method-assign]
        return spec


def leave(_module: ModuleType) -> None:
    pass


sys.meta_path.insert(0, Adjuster())
