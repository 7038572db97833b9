"""What kube-apiserver sends: pages of lists and watch events, decoded into the type that is asked for.

Any user of the cluster can store an object that cannot be read: a custom resource holds fields that nobody
declared, nested as deep as kube-apiserver lets them (10,000 levels, more than any decoder here takes). So an
object that cannot be read is told as such, and never keeps the others from being read.
"""
# ruff: noqa: A002 - `type` as in `KubeClient`

import re
import types
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from vgpu.kube.errors import UNREADABLE, BadAnswer, error_from_answer
from vgpu.kube.objects import MOST_LEVELS, ObjectMeta, PartialObject
from vgpu.kube.transport import Call

T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]

_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{}]', re.DOTALL)
# Pages and events have three levels around an object; what is cut still counts as nested too deep.
_KEPT_LEVELS: Final = MOST_LEVELS + 10


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """What happened to an object.

    Attributes:
        type: a BOOKMARK says that nothing happened up to the resource version in its metadata.
        metadata: the object's; of a BOOKMARK, nothing but the resource version.
        object: None in a BOOKMARK, and where the object cannot be read.
        problem: why the object cannot be read; else empty.
    """

    type: EventType
    metadata: ObjectMeta
    object: T | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object of a list that is not what its type promises: which (as far as that can be read), and why."""

    metadata: ObjectMeta
    problem: str


class ListMeta(msgspec.Struct, rename="camel"):
    """The metadata of a page: where to watch from, and where the next page starts (empty for the last)."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    metadata: ListMeta
    items: list[T]
    unreadable: list[Unreadable] = field(default_factory=list)


class _Page(msgspec.Struct, Generic[T]):
    metadata: ListMeta
    items: list[T] | None = None


class _Event(msgspec.Struct):
    type: EventType | Literal["ERROR"]
    object: msgspec.Raw


def decode(call: Call, type: type[T], body: bytes | msgspec.Raw) -> T:
    """An answer as a `type`; BadAnswer when it is not one."""
    try:
        return cast("T", _decoder(cast("Any", type)).decode(body))
    except UNREADABLE as error:
        raise BadAnswer(call.method, call.path, str(error)) from error


def decode_page(call: Call, type: type[T], body: bytes) -> Page[T]:
    """A page of objects of a type that is known only now; those that cannot be read stand beside it."""
    try:
        page: _Page[T] = decode(call, cast("Any", types.GenericAlias(_Page, (type,))), body)
    except BadAnswer:
        return _one_by_one(call, type, decode(call, _Page[msgspec.Raw], without_depths(body)))
    return Page(page.metadata, page.items or [])


def decode_event(call: Call, type: type[T], line: bytes) -> WatchEvent[T]:
    """One line of a watch; an ERROR event is raised as the error that it means."""
    try:
        event = decode(call, _Event, line)
    except BadAnswer:
        event = decode(call, _Event, without_depths(line))
    if event.type == "ERROR":
        raise error_from_answer(verb=call.method, path=call.path, code=0, body=bytes(event.object))
    metadata = decode(call, PartialObject, event.object).metadata
    if event.type == "BOOKMARK":  # of a pod it has `containers: null`, which no pod has
        return WatchEvent(event.type, metadata)
    try:
        return WatchEvent(event.type, metadata, decode(call, type, event.object))
    except BadAnswer as error:
        return WatchEvent(event.type, metadata, problem=error.reason)


def without_depths(body: bytes) -> bytes:
    """JSON with null in place of everything that is nested too deep to be decoded."""
    kept: list[bytes] = []
    start = level = 0
    for token in _STRING_OR_BRACKET.finditer(body):
        if token[0] in b"[{":
            level += 1
            if level == _KEPT_LEVELS + 1:
                kept += body[start : token.start()], b"null"
        elif token[0] in b"]}":
            if level == _KEPT_LEVELS + 1:
                start = token.end()
            level -= 1
    return b"".join([*kept, body[start:]])


def _one_by_one(call: Call, type: type[T], page: _Page[msgspec.Raw]) -> Page[T]:
    items: list[T] = []
    unreadable: list[Unreadable] = []
    for raw in page.items or ():
        try:
            items.append(decode(call, type, raw))
        except BadAnswer as error:
            unreadable.append(Unreadable(_metadata(call, raw), error.reason))
    return Page(page.metadata, items, unreadable)


def _metadata(call: Call, raw: msgspec.Raw) -> ObjectMeta:
    try:
        return decode(call, PartialObject, raw).metadata
    except BadAnswer:
        return ObjectMeta()


@lru_cache(maxsize=64)
def _decoder(type: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)
