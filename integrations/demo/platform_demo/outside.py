"""What is tried at the end of a stage: who is let in and who is not, and what one user sees of another's."""

import asyncio
import time
from dataclasses import dataclass

import httpx
import websockets

from codelab_auth import AuthClient

from .common import INTERNAL
from .processes import ADMIN_PASSWORD, INTERNAL_KEY, Platform
from .users import PATIENCE, signed_in, subject

AGENTS = "codelab-agents"
#: A client whose access tokens expire at once.
HASTY = "codelab-hasty"
#: What makes sure that they have: their lifetime, the leeway of those who judge them, and a second.
EXPIRY = 1 + 5 + 1
OLGA = "olga"
OLGAS_PASSWORD = "Ink-and-Parchment-7"

#: Statuses, by what is shown. Here tokens are not looked at.
BEFORE = {
    "the key": 200,
    "a token": 401,
    "a token for models": 401,
    "an expired token": 401,
    "an expired token and the key": 200,
    "a bad token": 401,
    "a bad token and the key": 200,
    "nothing": 401,
}
#: Here they are, and where there is one it alone decides.
HYBRID = {
    **BEFORE,
    "a token": 200,
    "a token for models": 200,
    "an expired token and the key": 401,
    "a bad token and the key": 401,
}
#: Here it must have the scope `llm:access` besides.
MODELS = {**HYBRID, "a token": 403}
#: Here the key opens nothing.
KEYLESS = {**HYBRID, "the key": 401}

#: What is asked of each service.
ASKED = {"gateway": ("GET", "/api/sessions"), "runtime": ("GET", "/sessions"), "llm": ("POST", "/v1/complete")}
SESSIONS = {"gateway": "/api/sessions", "runtime": "/sessions"}


class Wrong(Exception):
    """Something is not as it should be."""


@dataclass(frozen=True)
class _People:
    """Those who have signed in, and the tokens that are no good."""

    admin: AuthClient
    olga: AuthClient
    agent: AuthClient
    expired: str
    expired_at: float


class Outside:
    """Somebody who tries what may be done at the services of the platform, and what may not."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._http = httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0))
        self._known: _People | None = None

    @property
    def agent(self) -> AuthClient:
        """A client whose tokens have the scope `llm:access`."""
        return self._people.agent

    @property
    def _people(self) -> _People:
        if self._known is None:
            raise Wrong("nobody has signed in yet")
        return self._known

    async def prepare(self) -> None:
        """Makes the clients and a second user, and signs in."""
        agents = f"client create {AGENTS} --name Agents --grant password --grant refresh_token --scope llm:access"
        hasty = f"client create {HASTY} --name Hasty --grant password --scope api:read --access-token-lifetime 1"
        for command in (agents, hasty):
            await asyncio.to_thread(self._platform.auth, *command.split())
        olga = f"user create {OLGA} --email olga@example.org --password-stdin"
        await asyncio.to_thread(self._platform.auth, *olga.split(), stdin=f"{OLGAS_PASSWORD}\n")
        self._known = _People(
            admin=await signed_in(self._platform),
            olga=await signed_in(self._platform, OLGA, OLGAS_PASSWORD),
            agent=await signed_in(self._platform, client_id=AGENTS),
            expired=await self._short_lived(),
            expired_at=time.monotonic() + EXPIRY,
        )

    async def try_service(self, name: str, expected: dict[str, int]) -> None:
        """Shows everything there is to one of the services.

        :raises Wrong: where an answer is another than the expected.
        """
        method, path = ASKED[name]
        body = {"prompt": "2 + 2"} if method == "POST" else None
        for what, headers in (await self._shown()).items():
            answer = await self._http.request(method, self._platform.url(name) + path, headers=headers, json=body)
            _compare(f"{what} at the {name}", answer.status_code, expected[what])
            if answer.status_code in (401, 403) and not answer.headers.get("www-authenticate", "").startswith("Bearer"):
                raise Wrong(f"{what} at the {name}: refused without a challenge")

    async def try_talk(self, expected: dict[str, int]) -> None:
        """Shows everything to the Gateway's WebSocket, which is refused before it is opened.

        :raises Wrong: where an answer is another than the expected.
        """
        url = self._platform.url("gateway").replace("http", "ws", 1) + "/api/talk"
        for what, headers in (await self._shown()).items():
            try:
                async with websockets.connect(url, additional_headers=headers, proxy=None, open_timeout=PATIENCE):
                    status = 200
            except websockets.InvalidStatus as refused:
                status = refused.response.status_code
            _compare(f"a WebSocket with {what}", status, expected[what])

    async def try_ownership(self, name: str) -> None:
        """Begins a session, looks at whose it is, and at it as somebody else.

        :raises Wrong: where it is another's, or another sees it.
        """
        base = self._platform.url(name) + SESSIONS[name]
        token = await self._people.admin.access_token()
        mine, hers = _bearer(token), _bearer(await self._people.olga.access_token())
        begun = (await self._http.post(base, headers=mine, json={"title": "a secret"})).json()["id"]
        owner = (await asyncio.to_thread(self._platform.owners))[begun]
        if owner != subject(token):
            raise Wrong(f"a session begun at the {name} by {subject(token)} belongs to {owner}")
        for who, headers, status in (("its owner", mine, 200), ("another user", hers, 404)):
            await self._ask(f"a session at the {name}, by {who}", f"{base}/{begun}/ask", headers, status)
            listed = {row["id"] for row in (await self._http.get(base, headers=headers)).json()}
            if (begun in listed) != (status == 200):
                raise Wrong(f"a session at the {name} is {'' if begun in listed else 'not '}listed for {who}")

    async def try_old_session(self, session: str, by_key: int, by_token: int) -> None:
        """Asks in a session of before, at the Gateway.

        :raises Wrong: where an answer is another than the expected.
        """
        url = f"{self._platform.url('gateway')}/api/sessions/{session}/ask"
        await self._ask("a session of before, by the key", url, {INTERNAL: INTERNAL_KEY}, by_key)
        bearer = _bearer(await self._people.admin.access_token())
        await self._ask("a session of before, by a token", url, bearer, by_token)

    async def _ask(self, what: str, url: str, headers: dict[str, str], expected: int) -> None:
        answer = await self._http.post(url, headers=headers, json={"text": "what was it?"})
        _compare(what, answer.status_code, expected)

    async def _shown(self) -> dict[str, dict[str, str]]:
        people, key = self._people, {INTERNAL: INTERNAL_KEY}
        token = await people.admin.access_token()
        expired, bad = _bearer(people.expired), _bearer(token[:-4] + "AAAA")
        await asyncio.sleep(people.expired_at - time.monotonic())
        return {
            "the key": key,
            "a token": _bearer(token),
            "a token for models": _bearer(await people.agent.access_token()),
            "an expired token": expired,
            "an expired token and the key": {**expired, **key},
            "a bad token": bad,
            "a bad token and the key": {**bad, **key},
            "nothing": {},
        }

    async def _short_lived(self) -> str:
        form = {"grant_type": "password", "client_id": HASTY, "username": "admin", "password": ADMIN_PASSWORD}
        answer = await self._http.post(f"{self._platform.url('auth')}/oauth/token", data=form)
        token: str = answer.raise_for_status().json()["access_token"]
        return token


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _compare(what: str, status: int, expected: int) -> None:
    if status != expected:
        raise Wrong(f"{what}: status {status}, not {expected}")
