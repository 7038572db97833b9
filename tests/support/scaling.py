"""An external scaler of the user's own, as a real HTTP server."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

Json = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What the scaler was sent."""

    path: str
    headers: Mapping[str, str]
    body: Json


def recommending(*, tflops: object = None, vram: object = None, reason: str = "") -> Json:
    """An answer that asks for other requests."""
    named = {name: value for name, value in (("tflops", tflops), ("vram", vram)) if value is not None}
    return {
        "needScaleUp": True,
        "needScaleDown": False,
        "reason": reason,
        "recommendedResources": {"requests": named},
    }


CONTENT: Json = {"needScaleUp": False, "needScaleDown": False, "reason": "all is well"}


class FakeScaler:
    """Answers every question with `answer`, or however `respond` does; an async context manager."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.answer: object = CONTENT
        self.respond: Callable[[Question], web.Response] | None = None
        self.silent: Callable[[Question], bool] = lambda _: False
        self.under_way = 0
        self._never = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port: int = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def workloads(self) -> list[str]:
        """Which workloads were asked for, in turn."""
        return [question.body["workloadName"] for question in self.asked]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        question = Question(request.path_qs, dict(request.headers), json.loads(body) if body else {})
        self.asked.append(question)
        if self.silent(question):
            self.under_way += 1
            try:
                await self._never.wait()
            finally:
                self.under_way -= 1
        if self.respond is not None:
            return self.respond(question)
        if isinstance(self.answer, bytes):
            return web.Response(body=self.answer)
        return web.json_response(self.answer)
