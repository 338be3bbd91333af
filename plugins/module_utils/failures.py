# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""How every module fails: with what happened, what to do next, and a code for programs."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

from ansible.module_utils.basic import AnsibleModule, missing_required_lib


class Failure(Protocol):
    """The interface of fluxlora's errors, which a module on an instance cannot import."""

    hint: str
    code: str


def fail(module: AnsibleModule, msg: str, *, hint: str, code: str, **facts: Any) -> NoReturn:
    """End the module with a failure. The facts are further results."""
    module.fail_json(msg=msg, hint=hint, code=str(code), **facts)
    raise AssertionError("fail_json ends the module")


def fail_with(module: AnsibleModule, error: Failure, **facts: Any) -> NoReturn:
    """End the module with the message, the hint and the code of an error. The facts are further results."""
    fail(module, str(error), hint=error.hint, code=error.code, **facts)


def require_fluxlora(module: AnsibleModule, error: ImportError | None) -> None:
    """End the module with a failure if its imports of the package fluxlora raised an error."""
    if error:
        fail(
            module,
            f"{missing_required_lib('fluxlora')} The import failed with: {error}.",
            hint="Run `pip install PATH` with that Python, where PATH is a checkout of fluxlora.",
            code="no_fluxlora",
        )
