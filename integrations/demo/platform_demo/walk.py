"""Takes a running platform from the shared key to access tokens, in six stages; each is gone back on once and done again.

All the while its users work, and not one of their requests may fail. What must be refused is tried at each stage.
"""

import asyncio
import pathlib
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

from .common import INTERNAL
from .processes import INTERNAL_KEY, Platform
from .users import Users, agent, ide_of_new, ide_of_old, signed_in

ON = {"USE_JWT_AUTH": "true"}
OFF = {"USE_JWT_AUTH": "false"}
AGENTS = "codelab-agents"


@dataclass(frozen=True)
class Stage:
    """A step that can be taken and taken back."""

    name: str
    forward: Callable[[], Awaitable[None]]
    back: Callable[[], Awaitable[None]]
    #: Statuses of what is tried from outside at the end of the stage, by what is shown.
    expected: dict[str, int]


class Walk:
    """The platform, its users, and the stages."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.users = Users()

    async def run(self) -> None:
        """Goes through all stages.

        :raises SystemExit: at the first stage that is not as it should be.
        """
        await self._prepare()
        print(f"{'stage':<58} {'requests':>8} {'by jwt':>7} {'by key':>7}")
        for number, stage in enumerate(self._stages(), 1):
            for step in (stage.forward, stage.back, stage.forward):
                await step()
                await self.users.settle()
                self._stop_at_failures(stage)
            await self._try_from_outside(stage)
            by = await self._methods()
            done = sum(self.users.done.values())
            print(f"{number} {stage.name:<56} {done:>8} {by['jwt']:>7.0f} {by['internal']:>7.0f}")
        await self.users.leave_all()
        self._stop_at_failures(None)
        print("No request failed that should have passed.")

    async def _prepare(self) -> None:
        """The platform as it is today."""
        await asyncio.to_thread(self.platform.migrate, "upgrade", "0001")
        for name in ("llm", "runtime", "gateway"):
            await self._deploy(name, **OFF)
        self.users.begin("IDE of old", ide_of_old(self.platform))
        await self.users.settle()
        self._stop_at_failures(None)

    def _stages(self) -> list[Stage]:
        key, token, nobody = "key", "token", "nobody"
        closed = {key: 200, token: 401, nobody: 401}
        hybrid = {key: 200, token: 200, nobody: 401}
        return [
            Stage("the auth service runs beside the platform", self._start_auth, _nothing, closed),
            Stage("sessions get an owner", self._own_sessions, self._disown_sessions, closed),
            Stage("the Agent Runtime takes tokens", self._runtime(ON), self._runtime(OFF), closed),
            Stage("the Gateway takes tokens, IDEs begin to sign in", self._open_gateway, self._close_gateway, hybrid),
            Stage("the LLM Proxy takes tokens of agents", self._open_llm, self._close_llm, hybrid),
            Stage("the shared key opens the Gateway no longer", self._end_key, self._allow_key, {**hybrid, key: 401}),
        ]

    async def _start_auth(self) -> None:
        if self.platform.url("auth").endswith(":0"):
            await asyncio.to_thread(self.platform.start_auth)
            # They learn its address when they are next deployed; until then nobody asks it.
            grants = ["--grant", "password", "--grant", "refresh_token", "--scope", "llm:access"]
            made = ["client", "create", AGENTS, "--name", "Agents", *grants]
            await asyncio.to_thread(self.platform.auth, *made)

    async def _own_sessions(self) -> None:
        await asyncio.to_thread(self.platform.migrate, "upgrade", "0002")

    async def _disown_sessions(self) -> None:
        await asyncio.to_thread(self.platform.migrate, "downgrade", "0001")

    def _runtime(self, switch: dict[str, str]) -> Callable[[], Awaitable[None]]:
        return lambda: self._deploy("runtime", **switch)

    async def _open_gateway(self) -> None:
        await self._deploy("gateway", **ON)
        if "IDE of new" not in self.users.done:
            client = await signed_in(self.platform)
            # It shows the key as well, so that the way back is open.
            self.users.begin("IDE of new", ide_of_new(self.platform, client, with_key=True))

    async def _close_gateway(self) -> None:
        await self._deploy("gateway", **OFF)

    async def _open_llm(self) -> None:
        await self._deploy("llm", **ON)
        self.users.begin("agent", agent(self.platform, await signed_in(self.platform, AGENTS)))

    async def _close_llm(self) -> None:
        # Agents have no key: they go before the way back is taken.
        await self.users.leave("agent")
        await self._deploy("llm", **OFF)

    async def _end_key(self) -> None:
        # First nobody shows it any more, which the metrics tell; then it opens nothing any more.
        await self.users.leave("IDE of old")
        await self.users.leave("IDE of new")
        client = await signed_in(self.platform)
        self.users.begin("IDE of new, without the key", ide_of_new(self.platform, client, with_key=False))
        await self._deploy("gateway", **ON, ACCEPT_INTERNAL_KEY="false")

    async def _allow_key(self) -> None:
        await self._deploy("gateway", **ON)
        self.users.begin("IDE of old", ide_of_old(self.platform))
        client = await signed_in(self.platform)
        self.users.begin("IDE of new", ide_of_new(self.platform, client, with_key=True))

    async def _deploy(self, name: str, **switches: str) -> None:
        await asyncio.to_thread(self.platform.deploy, name, **switches)

    async def _try_from_outside(self, stage: Stage) -> None:
        """What each gets who shows the key, a token, or nothing."""
        shown: dict[str, dict[str, str]] = {"key": {INTERNAL: INTERNAL_KEY}, "nobody": {}}
        client = await signed_in(self.platform)
        shown["token"] = {"Authorization": f"Bearer {await client.access_token()}"}
        async with httpx.AsyncClient() as http:
            for who, headers in shown.items():
                answer = await http.get(f"{self.platform.url('gateway')}/api/sessions", headers=headers)
                if answer.status_code != stage.expected[who]:
                    _stop(f"{stage.name}: {who} got {answer.status_code}, not {stage.expected[who]}")
            spoiled = {"Authorization": shown["token"]["Authorization"][:-4] + "AAAA", INTERNAL: INTERNAL_KEY}
            answer = await http.get(f"{self.platform.url('gateway')}/api/sessions", headers=spoiled)
            must_be_refused = stage.expected["token"] == 200
            if must_be_refused != (answer.status_code == 401):
                _stop(f"{stage.name}: a bad token with the right key got {answer.status_code}")

    async def _methods(self) -> dict[str, float]:
        """How those were authenticated whom the running Gateway has let in."""
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"{self.platform.url('gateway')}/metrics")).text
        found = re.findall(r'^auth_method_total\{method="(\w+)",result="accepted"\} (\S+)$', text, re.MULTILINE)
        return {method: float(count) for method, count in found}

    def _stop_at_failures(self, stage: Stage | None) -> None:
        if self.users.failures:
            _stop(f"{stage.name if stage else 'today'}: {self.users.failures[0]}")


async def _nothing() -> None:
    """There is nothing to take back: nobody uses it yet."""


def _stop(said: str) -> None:
    sys.exit(f"walk: {said}")


def main() -> None:
    """The walk, in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder, Platform(pathlib.Path(folder)) as platform:
        asyncio.run(Walk(platform).run())


if __name__ == "__main__":
    main()
