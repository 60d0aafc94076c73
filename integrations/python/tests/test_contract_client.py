"""integrations/contracts/client.json, scenario by scenario."""

import json
from dataclasses import asdict
from urllib.parse import parse_qsl

import httpx
import pytest

from codelab_auth import (
    AuthClient,
    AuthError,
    MemoryStorage,
    RequestRefused,
    SignedOut,
    Tokens,
    TooManyAttempts,
    Unavailable,
    WrongCredentials,
)
from contracts import SCENARIOS

ERRORS = {
    WrongCredentials: "wrong_credentials",
    TooManyAttempts: "too_many_attempts",
    SignedOut: "signed_out",
    Unavailable: "unavailable",
    RequestRefused: "refused",
}


class Script(httpx.AsyncBaseTransport):
    """Answers the requests that a step expects, and no other."""

    def __init__(self):
        self.exchanges = []

    async def handle_async_request(self, request):
        assert self.exchanges, f"a request too many: {request.url}"
        exchange = self.exchanges.pop(0)
        expected, answer = exchange["request"], exchange["answer"]
        assert (request.method, request.url.path) == (expected["method"], expected["path"])
        assert expected["headers"].items() <= dict(request.headers).items()
        form = parse_qsl((await request.aread()).decode(), keep_blank_values=True)
        assert sorted(form) == sorted(expected["form"].items())
        if answer.get("fault") == "refused":
            raise httpx.ConnectError("refused")
        if answer.get("fault") == "lost":
            raise httpx.ReadTimeout("lost")
        body = answer["body"]
        content = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(answer["status"], headers=answer["headers"], content=content)


async def outcome(client, step):
    try:
        if step["do"] == "sign_in":
            await client.sign_in(step["username"], step["password"], step.get("scope"))
        elif step["do"] == "access_token":
            return {"access_token": await client.access_token()}
        else:
            await client.sign_out()
    except AuthError as error:
        told = {"error": ERRORS[type(error)]}
        if getattr(error, "retry_after", None) is not None:
            told["retry_after"] = error.retry_after
        if isinstance(error, RequestRefused):
            told["code"] = error.code
        return told
    return {"ok": True}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
async def test_a_client_does_what_the_contract_says(scenario):
    now = 0
    script = Script()
    stored = scenario["stored"]
    storage = MemoryStorage(Tokens(**stored) if stored else None)
    async with httpx.AsyncClient(transport=script) as http:
        given = {**scenario["client"]}
        client = AuthClient(
            "https://auth.example.org", given.pop("client_id"), storage=storage, http=http, clock=lambda: now, **given
        )
        for step in scenario["steps"]:
            now = step["at"]
            script.exchanges = list(step["exchanges"])
            assert await outcome(client, step) == step["outcome"]
            assert not script.exchanges, "a request was not made"
            tokens = await storage.load()
            assert (asdict(tokens) if tokens else None) == step["stored"]
