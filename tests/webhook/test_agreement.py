"""Webhook and recommender agree on the second at which a rule acts, and neither evaluates it in between."""

from collections.abc import Sequence

import pytest

from recommender.decisions.configurations import Configurations
from tests.support import builders
from vgpu.kube.objects import CustomObject
from vgpu.schedule import Rule, active_rule
from webhook.configuration import Configuration

MIDNIGHT = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a Thursday
HOUR = 3600.0
NIGHT = builders.cron_rule("night", start="0 22 * * *", end="0 6 * * *")
CONFIG = {"cronScalingRules": [NIGHT]}


@pytest.mark.parametrize("boundary", [MIDNIGHT + 6 * HOUR, MIDNIGHT + 22 * HOUR])
@pytest.mark.parametrize("offset", [-1.0, -0.001, 0.0, 0.001, 1.0])
def test_both_have_the_same_rule_at_the_same_instant(boundary: float, offset: float) -> None:
    live = builders.struct(builders.workload(auto_scaling_config=CONFIG), CustomObject)
    recommender, now = Configurations(), boundary + offset
    recommender.read(live, boundary - 60)
    found, in_webhook = recommender.read(live, now).rule, Configuration.parse(live.spec).active_rule(now)
    assert found == in_webhook
    assert (found is not None) == ((boundary == MIDNIGHT + 22 * HOUR) == (offset >= 0))


def test_between_two_transitions_a_rule_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluations: list[float] = []

    def counted(rules: Sequence[Rule], now: float) -> Rule | None:
        evaluations.append(now)
        return active_rule(rules, now)

    monkeypatch.setattr("recommender.decisions.configurations.active_rule", counted)
    live = builders.struct(builders.workload(auto_scaling_config=CONFIG), CustomObject)
    subject = Configurations()
    for minute in range(24 * 60):
        subject.read(live, MIDNIGHT + 60 * minute)
    assert evaluations == [MIDNIGHT, MIDNIGHT + 6 * HOUR, MIDNIGHT + 22 * HOUR]
