"""Takes a running platform from the shared key to tokens, in six stages; each is taken back once and done again.

All the while its users work, and not one of their requests may fail. At the end of each stage everything there is to
show is shown to each service, and what a user sees of another's sessions, and of those of before, is looked at.
"""

import asyncio
import pathlib
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import httpx

from .outside import BEFORE, HYBRID, KEYLESS, MODELS, Outside, Wrong
from .processes import Platform
from .users import PATIENCE, SYSTEM, Users, agent, ide_of_new, ide_of_old, signed_in, subject

ON = {"USE_JWT_AUTH": "true"}
OFF = {"USE_JWT_AUTH": "false"}
#: How long a stage may take, in seconds, though the machine does something else as well.
LIMIT = 180


@dataclass(frozen=True)
class Stage:
    """A step that can be taken and taken back."""

    name: str
    forward: Callable[[], Awaitable[None]]
    back: Callable[[], Awaitable[None]]
    #: Who is let in at the end of the stage: by the Gateway, the Runtime, and the LLM Proxy.
    gateway: dict[str, int]
    runtime: dict[str, int]
    llm: dict[str, int]


class Walk:
    """The platform, its users, and the stages."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.users = Users()
        self.outside = Outside(platform)
        #: The sessions that there were before there were owners.
        self._old: set[str] = set()

    async def run(self) -> None:
        """Goes through all stages.

        :raises SystemExit: at the first stage that is not as it should be.
        """
        await self._within("today", self._prepare)
        _say(f"{'stage':<58} {'requests':>8} {'by jwt':>7} {'by key':>7}")
        for number, stage in enumerate(self._stages(), 1):
            await self._within(stage.name, partial(self._take, stage))
            by = await self._methods()
            done = sum(self.users.done.values())
            _say(f"{number} {stage.name:<56} {done:>8} {by['jwt']:>7.0f} {by['internal']:>7.0f}")
        await self._within("the end", self.users.leave_all)
        _say("No request failed that should have passed.")

    async def _within(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does a part of it, and names it where it is not as it should be, or not done in time."""
        try:
            async with asyncio.timeout(LIMIT):
                await work()
        except TimeoutError:
            sys.exit(f"walk: {name}: not done within {LIMIT} s; done so far: {dict(self.users.done)}")
        except Wrong as wrong:
            sys.exit(f"walk: {name}: {wrong}")
        if self.users.failures:
            sys.exit(f"walk: {name}: {self.users.failures[0]}")

    async def _prepare(self) -> None:
        """The platform as it is today."""
        await asyncio.to_thread(self.platform.migrate, "upgrade", "0001")
        await asyncio.gather(*(self._deploy(name, **OFF) for name in ("llm", "runtime", "gateway")))
        self.users.begin("IDE of old", ide_of_old(self.platform))
        await self._settle()

    async def _take(self, stage: Stage) -> None:
        for step in (stage.forward, stage.back, stage.forward):
            await step()
            await self._settle()
        tried = {"gateway": stage.gateway, "runtime": stage.runtime, "llm": stage.llm}
        for service, expected in tried.items():
            await self.outside.try_service(service, expected)
            if service != "llm" and expected["a token"] == 200:
                await self.outside.try_ownership(service)
        await self.outside.try_talk(stage.gateway)
        await self._try_old_sessions(stage)

    def _stages(self) -> list[Stage]:
        today, runtime, models = (BEFORE, BEFORE, BEFORE), (BEFORE, HYBRID, BEFORE), (HYBRID, HYBRID, MODELS)
        on, off = partial(self._deploy, "runtime", **ON), partial(self._deploy, "runtime", **OFF)
        opened, keyless = (HYBRID, HYBRID, BEFORE), (KEYLESS, HYBRID, MODELS)
        return [
            Stage("the auth service runs beside the platform", self._start_auth, self._stop_auth, *today),
            Stage("sessions get an owner", self._own_sessions, self._disown_sessions, *today),
            Stage("the Agent Runtime takes tokens", on, off, *runtime),
            Stage("the Gateway takes tokens, IDEs begin to sign in", self._open_gateway, self._close_gateway, *opened),
            Stage("the LLM Proxy takes tokens of agents", self._open_llm, self._close_llm, *models),
            Stage("the shared key opens the Gateway no longer", self._end_key, self._allow_key, *keyless),
        ]

    async def _start_auth(self) -> None:
        is_new = self.platform.url("auth").endswith(":0")
        await asyncio.to_thread(self.platform.start_auth)
        if is_new:
            # The services learn its address when they are next deployed; until then nobody asks it.
            await self.outside.prepare()

    async def _stop_auth(self) -> None:
        await asyncio.to_thread(self.platform.stop_auth)

    async def _own_sessions(self) -> None:
        self._old = await self._migrated("upgrade", "0002", SYSTEM)

    async def _disown_sessions(self) -> None:
        await self._migrated("downgrade", "0001", None)

    async def _migrated(self, way: str, revision: str, owner: str | None) -> set[str]:
        """Changes the schema, and gives the sessions of before, which are all there still and belong to `owner`.

        :raises Wrong: where one is lost, or another's.
        """
        before = set(await asyncio.to_thread(self.platform.owners))
        await asyncio.to_thread(self.platform.migrate, way, revision)
        await self._settle()
        after = await asyncio.to_thread(self.platform.owners)
        if lost := before - after.keys():
            raise Wrong(f"{len(lost)} of {len(before)} sessions are lost by {way} {revision}")
        if others := set(after.values()) - {owner}:
            raise Wrong(f"after {way} {revision} sessions belong to {others}")
        return before

    async def _open_gateway(self) -> None:
        await self._deploy("gateway", **ON)
        if "IDE of new" not in self.users.done:
            # It shows the key as well, so that the way back is open.
            await self._begin_ide_of_new("IDE of new", with_key=True)

    async def _close_gateway(self) -> None:
        await self._deploy("gateway", **OFF)

    async def _begin_ide_of_new(self, name: str, *, with_key: bool) -> None:
        client = await signed_in(self.platform)
        user = subject(await client.access_token())
        self.users.begin(name, ide_of_new(self.platform, client, user, with_key=with_key))

    async def _open_llm(self) -> None:
        await self._deploy("llm", **ON)
        self.users.begin("agent", agent(self.platform, self.outside.agent))

    async def _close_llm(self) -> None:
        # Agents have no key: they go before the way back is taken.
        await self.users.leave("agent")
        await self._deploy("llm", **OFF)

    async def _end_key(self) -> None:
        # First nobody comes by it any more, which the metrics tell; then it opens nothing any more.
        await self.users.leave("IDE of old")
        before = (await self._methods())["internal"]
        await self._settle()
        if (after := (await self._methods())["internal"]) != before:
            raise Wrong(f"the key has been used {after - before:.0f} times, though nobody has only that")
        await self._deploy("gateway", **ON, ACCEPT_INTERNAL_KEY="false")
        if "IDE of new, without the key" not in self.users.done:
            await self._begin_ide_of_new("IDE of new, without the key", with_key=False)

    async def _allow_key(self) -> None:
        await self._deploy("gateway", **ON)
        self.users.begin("IDE of old", ide_of_old(self.platform))

    async def _deploy(self, name: str, **switches: str) -> None:
        await asyncio.to_thread(self.platform.deploy, name, **switches)

    async def _settle(self) -> None:
        await self.users.settle()
        if self.users.failures:
            raise Wrong(self.users.failures[0])

    async def _try_old_sessions(self, stage: Stage) -> None:
        """Those of before are all there, are the system's, and answer the key as ever, but no user's token."""
        if not self._old:
            return
        owners = await asyncio.to_thread(self.platform.owners)
        if strange := {owners.get(session) for session in self._old} - {SYSTEM}:
            raise Wrong(f"of {len(self._old)} sessions of before some belong to {strange}")
        by_token = 404 if stage.gateway["a token"] == 200 else 401
        await self.outside.try_old_session(min(self._old), stage.gateway["the key"], by_token)

    async def _methods(self) -> dict[str, float]:
        """How those were authenticated whom the running Gateway has let in."""
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            text = (await http.get(f"{self.platform.url('gateway')}/metrics")).text
        found = re.findall(r'^auth_method_total\{method="(\w+)",result="accepted"\} (\S+)$', text, re.MULTILINE)
        return {method: float(count) for method, count in found}


def _say(line: str) -> None:
    """At once, so that a walk that is ended from outside has told how far it came."""
    print(line, flush=True)


def main() -> None:
    """The walk, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder, Platform(pathlib.Path(folder)) as platform:
        asyncio.run(Walk(platform).run())


if __name__ == "__main__":
    main()
