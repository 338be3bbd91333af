# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the documentation of each module that calls vast.ai repeats."""

from __future__ import annotations


class ModuleDocFragment:
    """The account's options, whose specification is plugins/module_utils/account.py, and the package they need."""

    DOCUMENTATION = r"""
options:
  api_key:
    description: The account's key. When not given, E(VAST_API_KEY), then the official client's own key files.
    type: str
  url:
    description: Address of the API. When not given, E(VAST_URL), then https://console.vast.ai.
    type: str
requirements:
  - The Python package fluxlora where the module runs, which is usually the controller.
"""
