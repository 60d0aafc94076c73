"""Those who use the platform while it is being changed, and what they hold against it."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx
import websockets
from codelab_auth import AuthClient

from .common import INTERNAL
from .processes import ADMIN_PASSWORD, INTERNAL_KEY, Platform

#: Does one thing, and raises where it did not work.
Deed = Callable[[httpx.AsyncClient], Awaitable[None]]


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
        async with httpx.AsyncClient(limits=limits, timeout=20) as http:
            while True:
                # What has been begun is not given up in the middle.
                work = asyncio.ensure_future(deed(http))
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
    return _ide(platform, lambda: _returned({INTERNAL: INTERNAL_KEY}), expected_user="system")


def ide_of_new(platform: Platform, client: AuthClient, *, with_key: bool) -> Deed:
    """An IDE whose user signs in. While there may be a way back it shows the key as well."""

    async def shown() -> dict[str, str]:
        bearer = {"Authorization": f"Bearer {await client.access_token()}"}
        return {**bearer, INTERNAL: INTERNAL_KEY} if with_key else bearer

    return _ide(platform, shown)


async def signed_in(platform: Platform, client_id: str = "codelab-flutter-app", scope: str | None = None) -> AuthClient:
    """A client whose user has signed in."""
    client = AuthClient(platform.url("auth"), client_id)
    await client.sign_in("admin", ADMIN_PASSWORD, scope)
    return client


def agent(platform: Platform, client: AuthClient) -> Deed:
    """A tool that asks the LLM Proxy by itself, with a token for that."""

    async def deed(http: httpx.AsyncClient) -> None:
        shown = {"Authorization": f"Bearer {await client.access_token()}"}
        answer = await http.post(f"{platform.url('llm')}/v1/complete", headers=shown, json={"prompt": "2 + 2"})
        _check(answer)

    return deed


def _ide(platform: Platform, shown: Callable[[], Awaitable[dict[str, str]]], expected_user: str | None = None) -> Deed:
    numbers = itertools.count()

    async def deed(http: httpx.AsyncClient) -> None:
        headers = await shown()
        base = platform.url("gateway")
        title = f"session {next(numbers)}"
        begun = _check(await http.post(f"{base}/api/sessions", headers=headers, json={"title": title}))
        asked = f"{base}/api/sessions/{begun['id']}/ask"
        answer = _check(await http.post(asked, headers=headers, json={"text": title}))
        if answer["text"] != f"echo: {title}":
            raise AssertionError(f"an answer to something else: {answer}")
        talk = f"{base.replace('http', 'ws', 1)}/api/talk"
        async with websockets.connect(talk, additional_headers=headers, proxy=None) as socket:
            await socket.send("hello")
            heard = await socket.recv()
        if expected_user is not None and f'"{expected_user}"' not in str(heard):
            raise AssertionError(f"taken for somebody else: {heard!r}")

    return deed


def _check(answer: httpx.Response) -> dict[str, str]:
    if answer.status_code != 200:
        raise AssertionError(f"status {answer.status_code}: {answer.text[:200]}")
    body: dict[str, str] = answer.json()
    return body


async def _returned(value: dict[str, str]) -> dict[str, str]:
    return value
