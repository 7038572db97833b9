import copy
from typing import Any

import pytest

from recommender.publishing.applying import _remove

BODY: dict[str, Any] = {
    "metadata": {
        "labels": {"app.kubernetes.io/managed-by": "vgpu-autoscaler", "app": "x"},
        "annotations": {"tensor-fusion.ai/applied-configuration": "0123"},
        "ownerReferences": [{"uid": "u"}],
    },
    "spec": {"minReplicas": 1, "behavior": {"scaleUp": {"policies": []}}},
}


@pytest.mark.parametrize(
    ("field", "parent", "left"),
    [
        ("metadata.labels.app.kubernetes.io/managed-by", ("metadata", "labels"), {"app"}),
        ("metadata.labels.app", ("metadata", "labels"), {"app.kubernetes.io/managed-by"}),
        (
            "metadata.annotations.tensor-fusion.ai/applied-configuration",
            ("metadata",),
            {"labels", "ownerReferences"},
        ),
        ('metadata.ownerReferences[uid="u"].controller', ("metadata",), {"labels", "annotations"}),
        ("spec.minReplicas", ("spec",), {"behavior"}),
        ("spec.behavior.scaleUp", ("spec",), {"minReplicas"}),
        ("spec.unheard.of", ("spec",), {"minReplicas", "behavior"}),
    ],
)
def test_a_field_in_conflict_is_left_out_whatever_its_name(
    field: str, parent: tuple[str, ...], left: set[str]
) -> None:
    body = copy.deepcopy(BODY)
    _remove(body, field)
    for name in parent:
        body = body[name]
    assert set(body) == left
