"""Requests to vast.ai through the official client's transport, which is imported with the first request.

Retries are ours, not the client's: it repeats every method, a rent too, and then rents twice.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from fluxlora.errors import VastError
from fluxlora.untrusted.schemas import MalformedError, parse
from fluxlora.vast.credentials import find_api_key, find_url
from fluxlora.vast.errors import BadApiKey, RateLimited, Unavailable, reason_of, refusal
from fluxlora.vast.records import text_of

# 500 charges or 64 offers have some 200 kB.
LARGEST_ANSWER_BYTES = 50_000_000
# Ten thousand instances; nobody's list is longer, and one without an end must not be waited for.
MOST_PAGES = 400
# Vast's own test tool gives up after six attempts, waiting 2^n seconds up to 30 between them.
ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 30.0
# What vast.ai asks for with Retry-After is waited for up to this.
LONGEST_ASKED_WAIT_SECONDS = 60.0
# What can stand in a header; all keys that were seen are hexadecimal.
KEY = re.compile(r"[!-~]+")


class Transport:
    """One account at one address. Every method raises VastError, and returns within attempts x (timeout + 30 s)."""

    def __init__(
        self,
        api_key: str | None = None,
        url: str | None = None,
        *,
        timeout_seconds: float = 60,
        attempts: int = ATTEMPTS,
        first_wait_seconds: float = 1.0,
    ) -> None:
        self.url = (url or find_url()).rstrip("/")
        # How far vast.ai's clock is ahead of this computer's, by its last answer.
        self.skew_seconds: float | None = None
        self._api_key = (api_key or "").strip() or find_api_key()
        if not KEY.fullmatch(self._api_key):
            raise BadApiKey(
                "The vast.ai API key holds a space, a line break or a character that no key has.",
                hint="Copy it again from https://cloud.vast.ai/manage-keys/, and: export VAST_API_KEY=…",
            )
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._first_wait_seconds = first_wait_seconds
        self._official: Any = None

    def _client(self) -> Any:
        if self._official is None:
            # The package reads VAST_URL when it is imported, and takes 0.4 s: hence late, and with the url given.
            from vastai.api.client import VastClient

            self._official = VastClient(
                api_key=self._api_key, server_url=self.url, retry=1, timeout=self._timeout_seconds
            )
        return self._official

    def _send(self, call: Callable[[Any], Any]) -> dict[str, Any] | list[Any]:
        """One request, one answer, every failure as a VastError."""
        import requests

        client = self._client()
        try:
            response = call(client)
        # ValueError: an address that is none, for some of which requests has no error of its own.
        except (requests.RequestException, ValueError) as error:
            raise Unavailable(
                f"{self.url} does not answer ({type(error).__name__}).", hint="Check the network and VAST_URL."
            ) from error
        with contextlib.suppress(TypeError, ValueError):
            self.skew_seconds = parsedate_to_datetime(response.headers.get("Date")).timestamp() - time.time()
        try:
            body = parse(response.content, self.url, largest_bytes=LARGEST_ANSWER_BYTES)
        except MalformedError:
            body = None
        if response.status_code >= 400 or not isinstance(body, (dict, list)):
            asked_wait = response.headers.get("Retry-After")
            raise refusal(response.status_code, body, text_of(response.text), asked_wait=asked_wait)
        return body

    def ask(self, call: Callable[[Any], Any], *, repeat: tuple[type[VastError], ...]) -> dict[str, Any] | list[Any]:
        """Sends until it is answered or refused for good; `repeat` are the failures after which that is harmless."""
        for attempt in range(self._attempts):
            try:
                return self._send(call)
            except repeat as error:
                last = attempt == self._attempts - 1
                asked = error.wait_seconds if isinstance(error, RateLimited) else None
                if last or error.code == "search_quota_exceeded":
                    raise
                if asked is not None and asked > LONGEST_ASKED_WAIT_SECONDS:
                    error.hint = f"vast.ai asks to wait {asked:.0f} s; run it again then."
                    raise
                wait = min(self._first_wait_seconds * 2**attempt, LONGEST_WAIT_SECONDS)
                # Jitter, since several controllers may share one key and so one rate limit.
                time.sleep(max(asked or 0.0, wait * random.uniform(0.75, 1.25)))
        raise AssertionError("attempts must be at least 1")

    def ask_object(self, call: Callable[[Any], Any]) -> dict[str, Any]:
        body = self.ask(call, repeat=(RateLimited, Unavailable))
        if not isinstance(body, dict):
            raise Unavailable(f"{self.url} answered a list where an object was expected.")
        return body

    def do(self, call: Callable[[Any], Any]) -> None:
        """What is refused is refused with status 200, too."""
        if (body := self.ask_object(call)).get("success") is False:
            raise refusal(200, body, "")

    def rows(self, path: str, query: dict[str, Any], name: str, what: str) -> Iterator[Any]:
        """The rows of all pages; the API itself was seen to repeat a page for ever."""
        cursors: set[str] = set()
        for _ in range(MOST_PAGES):
            page = self.ask_object(lambda client: client.get(path, query_args=dict(query)))
            rows = page.get(name)
            if page.get("success") is False or not isinstance(rows, list):
                raise Unavailable(f"{self.url} answered without a {what}: {reason_of(page)}")
            yield from rows
            cursor = page.get("next_token")
            if not cursor:
                return
            if not isinstance(cursor, str):
                raise Unavailable(f"{self.url} answered a {what} whose next page cannot be asked for.")
            if cursor in cursors:
                raise Unavailable(f"vast.ai repeats a page of the {what}.", hint="Try again in a minute.")
            cursors.add(cursor)
            query["after_token"] = cursor
        raise Unavailable(f"vast.ai's {what} has no end.", hint="Try again in a minute.")
