"""The real Kubernetes client on the fake API without a network: for tests on virtual time.

kube = KubeInMemory()
client = kube.client()
kube.trouble = lambda call: Trouble(before=3.0, lost=True)
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes_asyncio.client import Configuration

from tests.support.kube_http import KubeApi, Request, status_body
from tests.support.kube_store import KubeStore, Refused
from vgpu.kube.client import KubeClient
from vgpu.kube.contact import Contact
from vgpu.kube.credentials import Credentials
from vgpu.kube.errors import ApiUnreachable, error_from_answer
from vgpu.kube.transport import Call, Transport

_SERVER = "http://memory"


@dataclass(frozen=True)
class Trouble:
    """What becomes of one request: seconds until it arrives and until its answer does, and what is lost."""

    before: float = 0.001
    after: float = 0.001
    refused: int = 0
    lost: bool = False
    unanswered: bool = False


class KubeInMemory:
    """A kube-apiserver as a function; `trouble` says what each request has to go through."""

    def __init__(self) -> None:
        self.store = KubeStore()
        self.calls: list[Call] = []
        self._api = KubeApi(self.store)

    def client(self, trouble: Callable[[Call], Trouble] = lambda _: Trouble()) -> KubeClient:
        return KubeClient(_InMemory(self, trouble))

    def answer(self, call: Call) -> bytes:
        self.calls.append(call)
        body = json.loads(call.body) if call.body else None
        asked = Request(call.method, call.path, dict(call.params), {"Content-Type": call.content_type}, body)
        try:
            return json.dumps(self._api.answer(asked)).encode()
        except Refused as refused:
            raise _error(call, refused.code, refused.reason, str(refused)) from refused


class _InMemory(Transport):
    def __init__(self, kube: KubeInMemory, trouble: Callable[[Call], Trouble]) -> None:
        self.credentials = Credentials(Configuration(host=_SERVER), source="memory", kubeconfig=None)
        self.timeout = 10.0
        self.contact = Contact()
        self._kube = kube
        self._trouble = trouble

    async def send(self, call: Call) -> bytes:
        call.check()
        trouble = self._trouble(call)
        await asyncio.sleep(trouble.before)
        if trouble.lost:
            raise ApiUnreachable(_SERVER, "lost on the way")
        if trouble.refused:
            raise _error(call, trouble.refused, "InternalError", "trouble")
        call.check()
        answer = self._kube.answer(call)
        await asyncio.sleep(trouble.after)
        if trouble.unanswered:
            raise ApiUnreachable(_SERVER, "lost on the way back")
        return answer


def _error(call: Call, code: int, reason: str, message: str) -> Exception:
    body = json.dumps(status_body(code, reason, message)).encode()
    return error_from_answer(verb=call.method, path=call.path, code=code, body=body)
