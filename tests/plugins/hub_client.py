"""Runs in an environment with one version of huggingface_hub: calls HfApi's methods as they are asked for.

Reads one line of JSON for each call, {"method": ..., "arguments": {...}}, and answers with one: result or error.
"""

from __future__ import annotations

import json
import sys

from huggingface_hub import HfApi


def plain(value):
    return vars(value) if hasattr(value, "__dict__") else str(value)


def main():
    api = HfApi()
    for line in sys.stdin:
        call = json.loads(line)
        try:
            result = getattr(api, call["method"])(**call["arguments"])
            answer = {"result": result if isinstance(result, str | dict | list | None) else plain(result)}
        except Exception as error:
            response = getattr(error, "response", None)
            status = None if response is None else response.status_code
            answer = {"error": type(error).__name__, "status": status, "message": str(error)}
        print(json.dumps(answer, default=plain), flush=True)


if __name__ == "__main__":
    main()
