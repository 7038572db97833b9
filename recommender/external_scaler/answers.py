"""What an external scaler is asked and what it answers, in JSON, believed only as far as it makes sense."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from recommender.bank import buckets
from recommender.external_scaler.errors import InvalidAnswer
from recommender.keys import WorkloadKey
from vgpu.quantities import QuantityError
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, parse_amount

_LONGEST_QUANTITY: Final = 40
_LONGEST_REASON: Final = 200
_MASK: Final = "**********"

# What usage is believed at most, a recommendation is too; in milli-TFLOPS and bytes.
MOST: Final[Mapping[Resource, int]] = {
    Resource.TFLOPS: round(1000 * buckets.TFLOPS.maximum),
    Resource.VRAM: round(buckets.VRAM.maximum),
}

_Quantity = str | int | float | None


class _Amounts(msgspec.Struct, frozen=True):
    tflops: _Quantity = None
    vram: _Quantity = None


class _Resources(msgspec.Struct, frozen=True):
    requests: _Amounts | None = None
    limits: _Amounts | None = None


class _Written(msgspec.Struct, frozen=True, rename="camel"):
    need_scale_up: bool | None = None
    need_scale_down: bool | None = None
    reason: str | None = None
    recommended_resources: _Resources | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What an external scaler says.

    Attributes:
        requests: what it recommends, at least of one resource; None where nothing needs to be scaled.
        reason: its own words, of one line, maybe none.
    """

    requests: Amounts | None
    reason: str = ""


def question(workload: WorkloadKey, current: VgpuSlice) -> bytes:
    """The body of a request."""
    return msgspec.json.encode(
        {
            "workloadName": workload.name,
            "namespace": workload.namespace,
            "currentResources": current.to_json(),
        }
    )


def read_answer(body: bytes, *, secret: str = "") -> Answer:
    """Read the body of an answer.

    Args:
        body: as it was sent.
        secret: what must not be told, should the scaler have put it into its reason.

    Raises:
        InvalidAnswer: naming the field. What the scaler has written there is not repeated: it was sent a
            token, and may send it back.
    """
    try:
        written = msgspec.json.decode(body, type=_Written)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else _without_values(error)
        raise InvalidAnswer(f"the answer is not as documented: {told}") from None
    if written.need_scale_up is None and written.need_scale_down is None:
        raise InvalidAnswer("the answer has neither needScaleUp nor needScaleDown")
    reason = _one_line(_masked(written.reason or "", secret))
    if not written.need_scale_up and not written.need_scale_down:
        return Answer(None, reason)
    return Answer(_requests(written.recommended_resources), reason)


def _masked(text: str, secret: str) -> str:
    return text.replace(secret, _MASK) if secret else text


def _without_values(error: Exception) -> str:
    return str(error) if isinstance(error, msgspec.MsgspecError) else "it is not UTF-8"


def _requests(written: _Resources | None) -> Amounts:
    if written is None:
        raise InvalidAnswer("the answer asks for scaling and has no recommendedResources")
    requests = _amounts(written.requests, "recommendedResources.requests")
    limits = _amounts(written.limits, "recommendedResources.limits")
    for resource in Resource:
        _require_order(resource, requests.get(resource), limits.get(resource))
    if requests == Amounts():
        raise InvalidAnswer("the answer asks for scaling and recommends no request of TFLOPS or VRAM")
    return requests


def _require_order(resource: Resource, request: int | None, limit: int | None) -> None:
    if limit is None:
        return
    if request is None:
        raise InvalidAnswer(f"recommendedResources.limits.{resource} has no request of {resource} beside it")
    if request > limit:
        raise InvalidAnswer(
            f"recommendedResources.requests.{resource} is above recommendedResources.limits.{resource}"
        )


def _amounts(written: _Amounts | None, path: str) -> Amounts:
    if written is None:
        return Amounts()
    return Amounts(
        tflops=_amount(Resource.TFLOPS, written.tflops, path), vram=_amount(Resource.VRAM, written.vram, path)
    )


def _amount(resource: Resource, written: _Quantity, path: str) -> int | None:
    """An amount; None for zero too, which is how a Go program writes what it does not name."""
    if written is None or written == "":
        return None
    try:
        amount = parse_amount(resource, _short(written))
    except QuantityError:
        raise InvalidAnswer(f"{path}.{resource} is not a quantity of zero or more") from None
    if amount > MOST[resource]:
        most = format_amount(resource, MOST[resource])
        raise InvalidAnswer(f"{path}.{resource} is more than any GPU has ({most} is allowed at most)")
    return amount or None


def _short(written: str | float) -> str | float:
    if len(str(written)) > _LONGEST_QUANTITY:
        raise QuantityError("it is longer than any quantity")
    return written


def _one_line(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _LONGEST_REASON])
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 3]}..."
