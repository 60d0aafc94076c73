"""Against the server that this repository builds."""

import asyncio
import json
import pathlib
import re
import sys
import textwrap

import httpx
import jose.jwt
import pytest

from auth_server import ADMIN_PASSWORD
from codelab_auth import (
    AuthClient,
    BearerAuth,
    FileStorage,
    JWTAuthMiddleware,
    KeySetCache,
    MemoryStorage,
    RequestRefused,
    SignedOut,
    Tokens,
    TokenVerifier,
    Unavailable,
    WrongCredentials,
)
from contracts import SCENARIOS
from service import application

ISSUER = "https://auth.example.org"
CLIENT = "codelab-flutter-app"


def verifier(server, **options):
    return TokenVerifier(KeySetCache(server.jwks_url, **options), issuer=ISSUER)


class Counting(httpx.AsyncHTTPTransport):
    """Counts what is asked of the token endpoint."""

    asked = 0

    async def handle_async_request(self, request):
        self.asked += 1
        return await super().handle_async_request(request)


async def test_a_token_of_the_server_is_accepted(shared_server):
    tokens = shared_server.tokens(scope="api:read")
    identity = await verifier(shared_server).verify(tokens["access_token"])
    assert (identity.client_id, identity.scope) == (CLIENT, "api:read")
    assert identity.expires_at == identity.claims["iat"] + tokens["expires_in"]


def test_python_jose_accepts_it_too(shared_server):
    keys = httpx.get(shared_server.jwks_url).json()
    token = shared_server.tokens()["access_token"]
    claims = jose.jwt.decode(token, keys, algorithms=["RS256"], audience="codelab-api", issuer=ISSUER)
    assert claims["type"] == "access"


class Load:
    """Validates the newest token without end, and keeps what was refused."""

    def __init__(self, judge, token):
        self.token = token
        self.count = 0
        self.failures = []
        self._judge = judge
        self._over = False

    async def __aenter__(self):
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._over = True
        await self._running

    async def go_on(self, count):
        """Comes back after so many more validations."""
        until = self.count + count
        while self.count < until:
            await asyncio.sleep(0)

    async def _run(self):
        while not self._over:
            try:
                await self._judge.verify(self.token)
            except Exception as refused:
                self.failures.append(refused)
            self.count += 1
            await asyncio.sleep(0)


@pytest.mark.parametrize(("interval", "rotations"), [(30.0, 1), (0.0, 4)])
async def test_no_validation_fails_while_keys_are_rotated(auth_server, interval, rotations):
    judge = verifier(auth_server, refetch_interval=interval)
    seen = [auth_server.tokens()["access_token"]]
    async with Load(judge, seen[0]) as load:
        await load.go_on(20)
        for _ in range(rotations):
            await asyncio.to_thread(auth_server.run, "keys", "rotate", "--immediately", "--yes")
            kid = seen[-1].split(".")[0]
            while load.token.split(".")[0] == kid:
                load.token = (await asyncio.to_thread(auth_server.tokens))["access_token"]
            seen.append(load.token)
            await load.go_on(20)
    assert load.failures == []
    assert len({token.split(".")[0] for token in seen}) == rotations + 1
    for token in seen:
        await judge.verify(token)


async def test_no_validation_fails_while_the_server_is_away(auth_server):
    judge = verifier(auth_server, lifetime=0.0, refetch_interval=0.0)
    async with Load(judge, auth_server.tokens()["access_token"]) as load:
        await load.go_on(20)
        await asyncio.to_thread(auth_server.stop)
        await load.go_on(100)
        await asyncio.to_thread(auth_server.start)
        load.token = auth_server.tokens()["access_token"]
        await load.go_on(20)
    assert load.failures == []


async def test_the_service_of_the_readme_works(shared_server):
    readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    assert len(code.splitlines()) < 20
    # The server of the test in the place of the one on its usual port.
    code = code.replace("http://127.0.0.1:8003", shared_server.url).replace("https://auth.codelab.local", ISSUER)
    service = {}
    exec(compile(code, "README.md", "exec"), service)
    transport = httpx.ASGITransport(service["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        assert (await http.get("/me")).status_code == 401
        token = shared_server.tokens()["access_token"]
        answer = await http.get("/me", headers={"authorization": f"Bearer {token}"})
    assert answer.json()["scope"] == "api:read api:write"


async def test_a_service_over_the_server(shared_server):
    app = application(JWTAuthMiddleware, verifier=verifier(shared_server))
    client = AuthClient(shared_server.url, CLIENT)
    await client.sign_in("admin", ADMIN_PASSWORD)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service", auth=BearerAuth(client)) as http:
        answer = await http.get("/me")
    assert answer.json()["client_id"] == CLIENT


async def test_fifty_callers_with_an_expired_token_cause_one_refresh(shared_server):
    given = shared_server.tokens()
    storage = MemoryStorage(Tokens(given["access_token"], given["refresh_token"], 0.0, 900.0, given["scope"]))
    transport = Counting()
    async with httpx.AsyncClient(transport=transport) as http:
        client = AuthClient(shared_server.url, CLIENT, storage=storage, http=http)
        got = await asyncio.gather(*(client.access_token() for _ in range(50)))
    assert transport.asked == 1
    assert len(set(got)) == 1
    await verifier(shared_server).verify(got[0])


SHARING = """
    import asyncio, sys
    from codelab_auth import AuthClient, FileStorage
    url, path = sys.argv[1:]
    print(asyncio.run(AuthClient(url, "codelab-flutter-app", storage=FileStorage(path)).access_token()))
"""


async def test_processes_that_share_a_session_refresh_once(shared_server, tmp_path):
    given = shared_server.tokens()
    path = tmp_path / "session.json"
    storage = FileStorage(path)
    await storage.save(Tokens(given["access_token"], given["refresh_token"], 0.0, 900.0, given["scope"]))
    assert path.stat().st_mode & 0o777 == 0o600
    command = [sys.executable, "-c", textwrap.dedent(SHARING), shared_server.url, str(path)]
    started = [await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(4)]
    printed = {(await process.communicate())[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(printed) == 1
    # Had one of them presented the consumed token, the session would be dead.
    tokens = await storage.load()
    await storage.save(Tokens(tokens.access_token, tokens.refresh_token, 0.0, 900.0, tokens.scope))
    assert await AuthClient(shared_server.url, CLIENT, storage=storage).access_token()


async def test_a_service_that_refuses_a_token_gets_a_new_one(shared_server):
    client = AuthClient(shared_server.url, CLIENT)
    await client.sign_in("admin", ADMIN_PASSWORD)
    first = await client.access_token()
    seen = []

    def service(request):
        seen.append(request.headers["authorization"])
        if len(seen) == 1:
            return httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(service), auth=BearerAuth(client)) as http:
        answer = await http.post("https://service/things", json={"a": 1})
    assert answer.status_code == 200
    assert seen == [f"Bearer {first}", f"Bearer {await client.access_token()}"]
    assert seen[0] != seen[1]


async def test_who_signs_out_can_not_go_on(shared_server):
    storage = MemoryStorage()
    client = AuthClient(shared_server.url, CLIENT, storage=storage)
    await client.sign_in("admin", ADMIN_PASSWORD, "api:read")
    kept = await storage.load()
    assert kept.scope == "api:read"
    await client.sign_out()
    with pytest.raises(SignedOut):
        await client.access_token()
    await storage.save(Tokens(kept.access_token, kept.refresh_token, 0.0, 900.0, kept.scope))
    with pytest.raises(SignedOut):
        await client.access_token()
    assert await storage.load() is None


async def test_what_the_server_refuses_is_told_apart(shared_server):
    with pytest.raises(WrongCredentials):
        await AuthClient(shared_server.url, CLIENT).sign_in("admin", "wrong")
    with pytest.raises(RequestRefused) as unknown:
        await AuthClient(shared_server.url, "nobody-knows-me").sign_in("admin", ADMIN_PASSWORD)
    assert unknown.value.code == "invalid_client"
    with pytest.raises(RequestRefused) as scope:
        await AuthClient(shared_server.url, CLIENT).sign_in("admin", ADMIN_PASSWORD, "api:everything")
    assert scope.value.code == "invalid_scope"
    with pytest.raises(Unavailable):
        await AuthClient("http://127.0.0.1:1", CLIENT).sign_in("admin", ADMIN_PASSWORD)


async def test_a_confidential_client_signs_in(auth_server):
    made = json.loads(
        auth_server.run(
            *["client", "create", "my backend+1", "--name", "Backend", "--confidential", "--json"],
            *["--grant", "password", "--grant", "refresh_token", "--scope", "api:read"],
        )
    )
    client = AuthClient(auth_server.url, "my backend+1", client_secret=made["client_secret"])
    await client.sign_in("admin", ADMIN_PASSWORD)
    assert await client.access_token()


def shape(body):
    return sorted(body) if isinstance(body, dict) else body


def test_the_answers_in_the_contract_are_those_of_the_server(shared_server):
    """Members, media type and caching of what the contract lets a server say; not the values."""
    seen = {}

    def post(path, **form):
        answer = httpx.post(f"{shared_server.url}{path}", data={"client_id": CLIENT, **form})
        seen[path, answer.status_code, answer.json().get("error")] = answer
        return answer.json()

    good = {"grant_type": "password", "username": "admin", "password": ADMIN_PASSWORD}
    tokens = post("/oauth/token", **good)
    post("/oauth/token", **{**good, "password": "wrong"})
    post("/oauth/token", **good, client_id="nobody-knows-me")
    post("/oauth/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    post("/oauth/token", grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    post("/oauth/revoke", token=tokens["refresh_token"])

    checked = set()
    for step in (step for scenario in SCENARIOS for step in scenario["steps"]):
        for exchange in step["exchanges"]:
            path, answer = exchange["request"]["path"], exchange["answer"]
            body = answer.get("body")
            if not isinstance(body, dict):
                continue
            real = seen.get((path, answer["status"], body.get("error")))
            if real is not None:
                checked.add((path, answer["status"], body.get("error")))
                assert shape(real.json()) == shape(body)
                assert set(answer["headers"]) <= set(real.headers)
                if "token_type" in body:
                    assert real.json()["token_type"] == body["token_type"]
    assert checked == {
        ("/oauth/token", 200, None),
        ("/oauth/token", 401, "invalid_grant"),
        ("/oauth/token", 401, "invalid_client"),
        ("/oauth/revoke", 200, None),
    }
