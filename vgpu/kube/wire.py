"""What kube-apiserver sends: pages of lists and watch events, decoded into the type that is asked for."""
# ruff: noqa: A002 - `type` as in `KubeClient`

import types
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec

from vgpu.kube.errors import BadAnswer, error_from_answer
from vgpu.kube.transport import Call

T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """What happened to an object; a BOOKMARK's object carries nothing but its resource version."""

    type: EventType
    object: T


class ListMeta(msgspec.Struct, rename="camel"):
    """The metadata of a page: where to watch from, and where the next page starts (empty for the last)."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[T]):
    """A part of a list."""

    metadata: ListMeta
    items: list[T] | None = None


class _RawEvent(msgspec.Struct):
    type: EventType | Literal["ERROR"]
    object: msgspec.Raw


def decode(call: Call, type: type[T], body: bytes | msgspec.Raw) -> T:
    """An answer as a `type`; BadAnswer when it is not one."""
    try:
        return cast("T", _decoder(cast("Any", type)).decode(body))
    except msgspec.MsgspecError as error:
        raise BadAnswer(call.method, call.path, str(error)) from error


def decode_page(call: Call, type: type[T], body: bytes) -> Page[T]:
    """A page of objects of a type that is known only now."""
    return decode(call, cast("Any", types.GenericAlias(Page, (type,))), body)


def decode_event(call: Call, type: type[T], line: bytes) -> WatchEvent[T]:
    """One line of a watch; an ERROR event is raised as the error that it means."""
    event = decode(call, _RawEvent, line)
    if event.type == "ERROR":
        raise error_from_answer(verb=call.method, path=call.path, code=0, body=bytes(event.object))
    return WatchEvent(event.type, decode(call, type, event.object))


@lru_cache(maxsize=64)
def _decoder(type: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)
