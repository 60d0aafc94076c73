"""A service of the kind that the package is for, served by uvicorn on a free port."""

import asyncio
import contextlib
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request, WebSocket, WebSocketDisconnect

from codelab_auth import Identity
from codelab_auth.fastapi import current_user, require_scopes


def application(middleware, **options):
    app = FastAPI()
    app.state.heard = []

    @app.get("/health")
    async def health():
        return {"status": "healthy"}

    @app.get("/me")
    async def me(request: Request, user: Annotated[Identity, Depends(current_user)]):
        state = request.state
        return {
            "user_id": state.user_id,
            "scope": state.scope,
            "client_id": state.client_id,
            "scopes": sorted(user.scopes),
        }

    @app.get("/open/me")
    async def open_me(user: Annotated[Identity, Depends(current_user)]):
        return user.user_id

    @app.post("/admin", dependencies=[Depends(require_scopes("api:admin"))])
    async def admin():
        return {}

    @app.websocket("/talk")
    async def talk(socket: WebSocket):
        await socket.accept()
        app.state.heard.append(dict(socket.headers) | {"subprotocols": socket.scope["subprotocols"]})
        await socket.send_text(socket.state.user_id)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await socket.send_text(await socket.receive_text())
        app.state.heard.append("over")

    app.state.ended = asyncio.Event()

    @app.websocket("/stream")
    async def stream(socket: WebSocket):
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await socket.send_text("more")
                await asyncio.sleep(0)
        app.state.ended.set()

    app.add_middleware(middleware, **options)
    return app


@contextlib.asynccontextmanager
async def served(app):
    """Its address, while it is served."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", ws="websockets-sansio"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
