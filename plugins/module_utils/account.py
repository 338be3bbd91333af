# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The options of each module that calls vast.ai; plugins/doc_fragments/account.py documents them."""

from __future__ import annotations

from typing import Any

ACCOUNT_OPTIONS: dict[str, dict[str, Any]] = {
    "api_key": {"type": "str", "no_log": True},
    "url": {"type": "str"},
}
