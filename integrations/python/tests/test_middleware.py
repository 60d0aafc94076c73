"""Who gets through, and what the others are told, over HTTP and WebSockets."""

import asyncio
import contextlib
import json
import pathlib

import httpx
import prometheus_client
import pytest
import websockets

from codelab_auth import HybridAuthMiddleware, JWTAuthMiddleware, KeysUnavailable, PrometheusMetrics, TokenVerifier
from contracts import DOCUMENT, FixedKeys, case
from service import application, served

GOOD = case("an access token is accepted")["token"]
USER = case("an access token is accepted")["accepted"]["sub"]
KEY = "a shared key of old"


class Clock:
    """The time that tokens are judged by."""

    now = DOCUMENT["now"]

    def __call__(self):
        return self.now


def verifier(clock=None, **options):
    return TokenVerifier(FixedKeys(DOCUMENT["key_set"]), clock=clock or Clock(), **DOCUMENT["policy"], **options)


def http(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def guarded(**options):
    return application(JWTAuthMiddleware, **{"verifier": verifier(), "public_paths": ["/health", "/open/*"], **options})


def hybrid(**options):
    return application(HybridAuthMiddleware, **{"verifier": verifier(), "internal_key": KEY, **options})


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def test_a_good_token_says_who_is_asking():
    async with http(guarded()) as client:
        answer = await client.get("/me", headers=bearer(GOOD))
    assert answer.json() == {
        "user_id": USER,
        "scope": "api:read api:write",
        "client_id": "codelab-flutter-app",
        "scopes": ["api:read", "api:write"],
    }


async def test_the_scheme_may_be_written_in_any_case():
    async with http(guarded()) as client:
        assert (await client.get("/me", headers={"authorization": f"bEARER {GOOD}"})).status_code == 200


async def test_public_paths_need_no_token():
    async with http(guarded()) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/open/anything")).status_code == 404
        assert (await client.get("/healthy")).status_code == 401
        nobody = await client.get("/open/me")
        assert nobody.status_code == 401
        assert nobody.headers["www-authenticate"] == 'Bearer realm="codelab"'


async def test_a_request_for_options_needs_a_token_like_any_other():
    async with http(guarded()) as client:
        asked = {"origin": "https://app.example", "access-control-request-method": "GET"}
        assert (await client.options("/me", headers=asked)).status_code == 401


@pytest.mark.parametrize("paths", ["/docs", "/docs/*", ("/docs*"), ["*"], ["/*"], ["docs"], ["/a*b"], ["/docs*"], [""]])
def test_what_could_make_everything_public_is_not_taken(paths):
    with pytest.raises((TypeError, ValueError), match=r"public_paths|neither"):
        JWTAuthMiddleware(None, verifier(), public_paths=paths)


async def test_without_a_token_the_challenge_names_no_error():
    async with http(guarded()) as client:
        for headers in ({}, {"authorization": "Basic bWF5YTpzZWNyZXQ="}, {"x-user-id": USER}):
            answer = await client.get("/me", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="codelab"'
            assert answer.headers["cache-control"] == "no-store"


# What a header can't hold an HTTP library doesn't send.
BAD = [case for case in DOCUMENT["cases"] if "refused" in case and case["token"] == case["token"].strip()]


@pytest.mark.parametrize("bad", BAD, ids=lambda case: case["name"])
async def test_every_bad_token_gets_the_same_answer(bad):
    async with http(guarded()) as client:
        answer = await client.get("/me", headers=bearer(bad["token"]))
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_token"
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="codelab", error="invalid_token", error_description="The access token is invalid or has expired."'
    )


async def test_two_tokens_are_a_bad_request():
    async with http(guarded()) as client:
        for second in (GOOD, "x"):
            headers = [("authorization", f"Bearer {GOOD}"), ("authorization", f"Bearer {second}")]
            answer = await client.get("/me", headers=headers)
            assert answer.status_code == 400
            assert 'error="invalid_request"' in answer.headers["www-authenticate"]


async def test_a_token_in_the_query_is_none():
    async with http(guarded()) as client:
        assert (await client.get("/me", params={"access_token": GOOD, "token": GOOD})).status_code == 401


async def test_what_a_stranger_says_about_himself_is_not_taken_over():
    async with http(guarded()) as client:
        headers = {**bearer(GOOD), "x-user-id": "admin", "x-internal-auth": KEY, "x-scope": "api:admin"}
        answer = await client.get("/me", headers=headers)
    assert answer.json()["user_id"] == USER
    assert answer.json()["scope"] == "api:read api:write"


async def test_a_missing_scope_is_named():
    async with http(guarded()) as client:
        answer = await client.post("/admin", headers=bearer(GOOD))
    assert answer.status_code == 403
    named = 'Bearer realm="codelab", error="insufficient_scope", scope="api:admin"'
    assert answer.headers["www-authenticate"] == named


async def test_while_there_is_no_key_somebody_may_come_again():
    class NoKeys:
        async def find(self, kid):
            raise KeysUnavailable

    async with http(guarded(verifier=TokenVerifier(NoKeys(), **DOCUMENT["policy"]))) as client:
        answer = await client.get("/me", headers=bearer(GOOD))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"] == "temporarily_unavailable"


async def test_the_shared_key_is_the_system():
    async with http(hybrid()) as client:
        answer = await client.get("/me", headers={"x-internal-auth": KEY})
    assert answer.json() == {"user_id": "system", "scope": "internal", "client_id": None, "scopes": ["internal"]}


async def test_a_wrong_shared_key_is_nobody():
    wrong = [
        [("x-internal-auth", "")],
        [("x-internal-auth", KEY[:-1])],
        [("x-internal-auth", KEY), ("x-internal-auth", KEY)],
        [("x-internal-auth", f"{KEY}, {KEY}")],
    ]
    async with http(hybrid()) as client:
        for headers in wrong:
            assert (await client.get("/me", headers=headers)).status_code == 401


async def test_an_empty_shared_key_is_not_taken():
    for key in ("", " ", "\n"):
        with pytest.raises(ValueError, match="empty"):
            HybridAuthMiddleware(None, verifier(), internal_key=key)


async def test_a_token_decides_alone_though_the_shared_key_is_right():
    expired = case("expired long ago")["token"]
    async with http(hybrid()) as client:
        both = await client.get("/me", headers={**bearer(GOOD), "x-internal-auth": KEY})
        assert both.json()["user_id"] == USER
        refused = await client.get("/me", headers={**bearer(expired), "x-internal-auth": KEY})
        assert refused.status_code == 401


@pytest.mark.parametrize("spoiled", ["Bearer\t{}", "bearer,{}", "Token {}", "{}", "Basic {}"])
async def test_a_spoiled_authorization_does_not_fall_back_on_the_key(spoiled):
    headers = {"authorization": spoiled.format(case("expired long ago")["token"]), "x-internal-auth": KEY}
    async with http(hybrid()) as client:
        assert (await client.get("/me", headers=headers)).status_code == 401


async def test_switched_off_tokens_are_not_looked_at():
    async with http(hybrid(use_jwt=False)) as client:
        assert (await client.get("/me", headers=bearer(GOOD))).status_code == 401
        both = await client.get("/me", headers={**bearer("anything"), "x-internal-auth": KEY})
        assert both.json()["user_id"] == "system"


async def test_the_migration_can_be_watched():
    registry = prometheus_client.CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    async with http(hybrid(verifier=verifier(metrics=metrics), metrics=metrics)) as client:
        for headers in (
            bearer(GOOD),
            bearer(GOOD),
            bearer("x"),
            {"x-internal-auth": KEY},
            {"x-internal-auth": "?"},
            {},
        ):
            await client.get("/me", headers=headers)

    def value(name, **labels):
        return registry.get_sample_value(name, labels)

    assert value("auth_method_total", method="jwt", result="accepted") == 2
    assert value("auth_method_total", method="jwt", result="refused") == 1
    assert value("auth_method_total", method="internal", result="accepted") == 1
    assert value("auth_method_total", method="internal", result="refused") == 1
    assert value("auth_method_total", method="none", result="refused") == 1
    assert value("jwt_validation_total", result="accepted") == 2
    assert value("jwt_validation_total", result="malformed") == 1
    assert value("jwt_validation_duration_seconds_count") == 3


async def refused_by(url, **options):
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        async with websockets.connect(url, **options):
            pass
    return refused.value.response


async def test_a_websocket_with_no_or_a_bad_or_an_expired_token_is_refused():
    async with served(guarded()) as address:
        url = f"ws://{address}/talk"
        assert (await refused_by(url)).status_code == 401
        for name in ("expired long ago", "signed by a stranger", "a refresh token"):
            token = case(name)["token"]
            by_header = await refused_by(url, additional_headers=bearer(token))
            assert by_header.status_code == 401
            assert 'error="invalid_token"' in by_header.headers["www-authenticate"]
            assert (await refused_by(url, subprotocols=["bearer", token])).status_code == 401
        assert (await refused_by(f"{url}?token={GOOD}")).status_code == 401
        both = {"additional_headers": bearer(GOOD), "subprotocols": ["bearer", GOOD]}
        assert (await refused_by(url, **both)).status_code == 400


async def test_a_websocket_with_a_good_token_talks():
    app = guarded()
    async with served(app) as address:
        async with websockets.connect(f"ws://{address}/talk", additional_headers=bearer(GOOD)) as socket:
            assert await socket.recv() == USER
            await socket.send("hello")
            assert await socket.recv() == "hello"
        async with websockets.connect(f"ws://{address}/talk", subprotocols=["bearer", GOOD]) as socket:
            assert socket.subprotocol == "bearer"
            assert await socket.recv() == USER
    assert GOOD not in json.dumps(app.state.heard[-2])


async def test_a_websocket_is_closed_when_its_token_expires():
    clock = Clock()
    app = guarded(verifier=verifier(clock))
    # A tenth of a second before the end of token and leeway.
    clock.now = DOCUMENT["now"] + 900 + DOCUMENT["policy"]["leeway"] - 0.1
    async with (
        served(app) as address,
        websockets.connect(f"ws://{address}/talk", additional_headers=bearer(GOOD)) as socket,
    ):
        assert await socket.recv() == USER
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            await asyncio.wait_for(socket.recv(), 10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "token expired")
    assert app.state.heard[-1] == "over"


async def test_a_websocket_that_only_sends_is_told_that_its_token_has_expired():
    clock = Clock()
    app = guarded(verifier=verifier(clock))
    clock.now = DOCUMENT["now"] + 900 + DOCUMENT["policy"]["leeway"] - 0.1
    async with (
        served(app) as address,
        websockets.connect(f"ws://{address}/stream", additional_headers=bearer(GOOD)) as socket,
    ):
        async with asyncio.timeout(10):
            # Ends when the connection does, and says how.
            with contextlib.suppress(websockets.exceptions.ConnectionClosedError):
                async for said in socket:
                    assert said == "more"
            await app.state.ended.wait()
        assert socket.close_code == 1008


async def test_a_websocket_of_an_application_server_without_the_extension_is_closed():
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/talk", "headers": [], "subprotocols": []}
    await JWTAuthMiddleware(None, verifier())(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "unauthorized"}]


async def test_the_lifespan_of_an_application_is_not_touched():
    seen = []

    async def app(scope, _receive, _send):
        seen.append(scope["type"])

    await JWTAuthMiddleware(app, verifier())({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


def test_no_source_of_the_package_prints():
    source = pathlib.Path(__file__).parents[1] / "src"
    assert all("print(" not in path.read_text() for path in source.rglob("*.py"))
