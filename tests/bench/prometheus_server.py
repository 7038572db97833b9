"""A Prometheus for benches: it answers the two bulk queries about a population, as fast as it can."""

from collections.abc import Sequence

import numpy as np
from aiohttp import web

from tests.bench.population import START, Member, rise_of, tflops_of, vram_of

_BEGIN, _END = b'{"status":"success","data":{"resultType":"matrix","result":[', b"]}}"


class PrometheusServer:
    """What the pods of a population use at any time.

    Args:
        members: the workloads.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        heard = [member for member in members if member.group != "silent"]
        self._heads = [_head(member) for member in heard]
        self._use = tflops_of(heard)
        self._rise = rise_of(heard)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a range query."""
        form = await request.post() if request.method == "POST" else request.query
        start, end, step = (float(str(form[name])) for name in ("start", "end", "step"))
        times = start + step * np.arange(round((end - start) / step) + 1)
        values = self._use[:, np.newaxis] * (1 + self._rise[:, np.newaxis] * (times - START))
        if "memory_bytes" in str(form["query"]):
            values = vram_of(values)
        return web.Response(body=self._body(times.tolist(), values.tolist()), content_type="application/json")

    def _body(self, times: list[float], values: list[list[float]]) -> bytes:
        stamps = [f'[{time:.3f},"' for time in times]
        series = (
            head
            + ",".join(f'{stamp}{value}"]' for stamp, value in zip(stamps, row, strict=True)).encode()
            + b"]}"
            for head, row in zip(self._heads, values, strict=True)
        )
        return _BEGIN + b",".join(series) + _END


def _head(member: Member) -> bytes:
    labels = f'"namespace":"{member.key.namespace}","pod":"{member.pod_name}","uuid":"GPU-{member.number}"'
    return f'{{"metric":{{{labels}}},"values":['.encode()
