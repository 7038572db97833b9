"""JSON Patch (RFC 6902) operations that only say what differs."""

from collections.abc import Mapping

PatchOperation = Mapping[str, object]


def escape_pointer(key: str) -> str:
    """A key as it stands in a JSON pointer (RFC 6901, section 3)."""
    return key.replace("~", "~0").replace("/", "~1")


def annotation_operations(
    existing: Mapping[str, str] | None, changes: Mapping[str, str]
) -> list[PatchOperation]:
    """Operations after which an object's annotations hold `changes`; none where they already do.

    An object without annotations has no map to add a key to, so there the map comes first.
    """
    known = existing or {}
    operations: list[PatchOperation] = [
        {
            "op": "replace" if key in known else "add",
            "path": f"/metadata/annotations/{escape_pointer(key)}",
            "value": value,
        }
        for key, value in changes.items()
        if known.get(key) != value
    ]
    if operations and existing is None:
        operations.insert(0, {"op": "add", "path": "/metadata/annotations", "value": {}})
    return operations
