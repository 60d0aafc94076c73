"""The Gateway: where the IDE comes in. It knows who is asking, and passes that on."""

import contextlib
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Header, Response, WebSocket, WebSocketDisconnect

from codelab_auth import Identity
from codelab_auth.fastapi import current_user

from .common import NO_KEEPING, PATIENCE, Settings, credentials, guard

settings = Settings.of_environment()
app = FastAPI(title="Gateway")
guard(app, settings)

User = Annotated[Identity, Depends(current_user)]
Authorization = Annotated[str | None, Header()]

runtime = httpx.AsyncClient(base_url=settings.runtime_url, limits=NO_KEEPING, timeout=PATIENCE)


async def _to_runtime(method: str, path: str, shown: dict[str, str], body: Any = None) -> Response:
    answer = await runtime.request(method, path, headers=shown, json=body)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


@app.get("/api/sessions")
async def sessions(user: User, authorization: Authorization = None) -> Response:
    return await _to_runtime("GET", "/sessions", credentials(user, settings, authorization))


@app.post("/api/sessions")
async def begin(body: dict[str, str], user: User, authorization: Authorization = None) -> Response:
    return await _to_runtime("POST", "/sessions", credentials(user, settings, authorization), body)


@app.post("/api/sessions/{session}/ask")
async def ask(session: str, body: dict[str, str], user: User, authorization: Authorization = None) -> Response:
    shown = credentials(user, settings, authorization)
    return await _to_runtime("POST", f"/sessions/{session}/ask", shown, body)


@app.websocket("/api/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.send_json({"user": socket.state.user_id, "heard": await socket.receive_text()})
