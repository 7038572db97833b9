"""Pods of workloads, as the planner sees them."""

from dataclasses import replace
from typing import Any

from recommender.updating.members import Limits, Member, Situation
from vgpu.naming import Owner

NOW = 1_000_000.0
LIMITS = Limits(cool_down=60, minimum_age=600)
ROOT = Owner("apps/v1", "Deployment", "web", "uid-deployment-web")
REPLICA_SET = Owner("apps/v1", "ReplicaSet", "web-6d4cf56db6", "uid-rs")

OLD = Member(name="web-0", uid="uid-0", root=ROOT, controller=REPLICA_SET, created=NOW - 86_400, differs=True)
"""A Ready pod of a Deployment, a day old, that does not carry what is recommended."""


def member(number: int = 0, **changes: Any) -> Member:
    return replace(OLD, name=f"web-{number}", uid=f"uid-{number}", **changes)


def situation(*members: Member, **changes: Any) -> Situation:
    return Situation(members=members, **{"wanted": "as recommended", **changes})


def three(**changes: Any) -> Situation:
    """Three pods, all to be made anew."""
    return situation(member(0), member(1), member(2), **changes)
