"""Those who use the platform while it is being changed, and what they hold against it."""

import asyncio
import base64
import itertools
import json
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import websockets

from codelab_auth import AuthClient

from .common import INTERNAL
from .processes import ADMIN_PASSWORD, INTERNAL_KEY, Platform

#: Does one thing, and raises where it did not work.
Deed = Callable[[httpx.AsyncClient], Awaitable[None]]

#: How long one deed may take, in seconds: what hangs is a failure too.
PATIENCE = 90.0
#: Whoever shows the shared key.
SYSTEM = "system"


class Users:
    """Does what its users do, over and over, in the background, and keeps every failure."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.done: Counter[str] = Counter()
        self._deeds: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, deed: Deed) -> None:
        """Somebody comes."""
        self._deeds[name] = asyncio.create_task(self._repeat(name, deed))

    async def leave(self, name: str) -> None:
        """Somebody goes, once done with what has been begun."""
        deed = self._deeds.pop(name)
        deed.cancel()
        await asyncio.gather(deed, return_exceptions=True)

    async def leave_all(self) -> None:
        """Everybody goes."""
        for name in list(self._deeds):
            await self.leave(name)

    async def settle(self, times: int = 3) -> None:
        """Comes back when everybody who is there has done so many more things."""
        until = {name: self.done[name] + times for name in self._deeds}
        while any(self.done[name] < count for name, count in until.items()):
            if self.failures:
                return
            await asyncio.sleep(0.01)

    async def _repeat(self, name: str, deed: Deed) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=PATIENCE) as http:
            while True:
                # What has been begun is not given up in the middle.
                work = asyncio.ensure_future(asyncio.wait_for(deed(http), PATIENCE))
                try:
                    await asyncio.shield(work)
                except asyncio.CancelledError:
                    await asyncio.gather(work, return_exceptions=True)
                    raise
                except Exception as fault:
                    self.failures.append(f"{name}: {type(fault).__name__}: {fault}")
                self.done[name] += 1
                await asyncio.sleep(0.02)


def ide_of_old(platform: Platform) -> Deed:
    """An IDE that knows the shared key and no users."""

    async def shown() -> dict[str, str]:
        return {INTERNAL: INTERNAL_KEY}

    return _ide(platform, shown, {SYSTEM})


def ide_of_new(platform: Platform, client: AuthClient, user: str, *, with_key: bool) -> Deed:
    """An IDE whose user signs in. While there may be a way back it shows the key as well, and then is the system."""

    async def shown() -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {await client.access_token()}"}
        return {**bearer, INTERNAL: INTERNAL_KEY} if with_key else bearer

    return _ide(platform, shown, {user, SYSTEM} if with_key else {user})


async def signed_in(
    platform: Platform, name: str = "admin", password: str = ADMIN_PASSWORD, client_id: str = "codelab-flutter-app"
) -> AuthClient:
    """A client whose user has signed in."""
    client = AuthClient(platform.url("auth"), client_id, timeout=PATIENCE)
    await client.sign_in(name, password)
    return client


def subject(access_token: str) -> str:
    """Whom a token is for, as its bearer may read it."""
    payload = access_token.split(".")[1]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims["sub"]


def agent(platform: Platform, client: AuthClient) -> Deed:
    """A tool that asks the LLM Proxy by itself, with a token for that."""

    async def deed(http: httpx.AsyncClient) -> None:
        shown = {"Authorization": f"Bearer {await client.access_token()}"}
        answer = await http.post(f"{platform.url('llm')}/v1/complete", headers=shown, json={"prompt": "2 + 2"})
        _check(answer)

    return deed


def _ide(platform: Platform, shown: Callable[[], Awaitable[dict[str, str]]], users: set[str]) -> Deed:
    """Begins a session, asks something in it, and talks; `users` are those for whom it may be taken."""
    numbers = itertools.count()

    async def deed(http: httpx.AsyncClient) -> None:
        headers = await shown()
        title = f"session {next(numbers)}"
        # A session begun by the key, just before the Gateway took tokens, is not the user's: then another is begun.
        while not await _has_asked(http, platform.url("gateway"), headers, title, users):
            pass
        talk = f"{platform.url('gateway').replace('http', 'ws', 1)}/api/talk"
        async with websockets.connect(talk, additional_headers=headers, proxy=None, open_timeout=PATIENCE) as socket:
            await socket.send("hello")
            _check_user(json.loads(await socket.recv())["user"], users)

    return deed


async def _has_asked(http: httpx.AsyncClient, base: str, headers: dict[str, str], title: str, users: set[str]) -> bool:
    begun = _check(await http.post(f"{base}/api/sessions", headers=headers, json={"title": title}))
    owner = begun.get("user_id", SYSTEM)
    _check_user(owner, users)
    answer = await http.post(f"{base}/api/sessions/{begun['id']}/ask", headers=headers, json={"text": title})
    if answer.status_code == 404 and owner == SYSTEM and users != {SYSTEM}:
        return False
    if _check(answer)["text"] != f"echo: {title}":
        raise AssertionError(f"an answer to something else: {answer.text}")
    return True


def _check_user(user: str, expected: set[str]) -> None:
    if user not in expected:
        raise AssertionError(f"taken for {user}, who is none of {expected}")


def _check(answer: httpx.Response) -> dict[str, str]:
    if answer.status_code != 200:
        raise AssertionError(f"status {answer.status_code}: {answer.text[:200]}")
    body: dict[str, str] = answer.json()
    return body
