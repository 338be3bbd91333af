# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The documentation that all modules for vast.ai share."""

from __future__ import annotations


class ModuleDocFragment:
    """The account's options, which plugins/module_utils/account.py specifies, and the required package."""

    DOCUMENTATION = r"""
options:
  api_key:
    description: The account's key. By default E(VAST_API_KEY), then the official client's own key files.
    type: str
  url:
    description: Address of the API. By default E(VAST_URL), then https://console.vast.ai.
    type: str
requirements:
  - The Python package fluxlora where the module runs, which is usually the controller.
"""
