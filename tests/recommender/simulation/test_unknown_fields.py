from typing import Any

import pytest

from recommender.simulation.unknown_fields import unknown_fields


def found(**config: Any) -> list[str]:
    return [note.partition(",")[0] for note in unknown_fields({"autoScalingConfig": config, "own": {"a": 1}})]


def test_every_unknown_field_is_named_with_its_place() -> None:
    assert found(
        autoSetResources={"requestMargin": 0.5, "minAllowed": {"tflop": 1}},
        cronScalingRules=[{"name": "a"}, {"desiredResources": {"request": {}, "limits": {"cpu": 1}}}],
        autoSetReplica={},
    ) == [
        "spec.autoScalingConfig.autoSetResources has the field 'requestMargin'",
        "spec.autoScalingConfig.autoSetResources.minAllowed has the field 'tflop'",
        "spec.autoScalingConfig.cronScalingRules[1].desiredResources has the field 'request'",
        "spec.autoScalingConfig.cronScalingRules[1].desiredResources.limits has the field 'cpu'",
        "spec.autoScalingConfig has the field 'autoSetReplica'",
    ]


def test_every_spelling_that_counts_is_known() -> None:
    assert found(
        AUTOSETRESOURCES={"targetComputePercentile": 0.9, "margin_fraction": 0.1, "MinVRAMResourcesRatio": 1},
        externalScaler={"URL": "http://scaler", "apiKeySecretRef": {"name": "key"}, "initialDelay": "1m"},
        allow_both=True,
    ) == [
        "spec.autoScalingConfig.AUTOSETRESOURCES has the field 'margin_fraction'",
        "spec.autoScalingConfig.externalScaler has the field 'initialDelay'",
    ]


@pytest.mark.parametrize("value", [None, 5, "text", [1, "a", None], {"autoSetResources": [5, "a"]}])
def test_whatever_stands_there_is_taken(value: object) -> None:
    assert list(unknown_fields({"autoScalingConfig": value})) == []


def test_a_field_like_no_other_is_named_without_advice() -> None:
    [note] = unknown_fields({"autoScalingConfig": {"zzz": 1}})
    assert note.endswith("which is not known and configures nothing")
