"""Admission reviews and a cluster to decide them by, for the webhook's tests."""

import base64
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jsonpatch
import msgspec

from tests.support.builders import (
    Json,
    cron_rule,
    deployment_pod,
    profile,
    slice_annotations,
    slice_json,
    workload,
)
from vgpu import annotations as keys
from vgpu.capacity import Card, cap_of
from vgpu.gpu_peaks import load_models
from vgpu.naming import Owner
from vgpu.slices import Amounts
from webhook.configuration import Configuration, Configurations, KnownSpec
from webhook.edits import Outcome
from webhook.errors import UnknownJobError
from webhook.lookups import KnownWorkload
from webhook.pods import decide
from webhook.published import read_status
from webhook.review import AdmissionRequest, decode_review

NOON = 1_772_712_000.0  # Thursday 2026-03-05 12:00 UTC
FRIDAY_NOON = NOON + 86_400

ORIGINAL = slice_json()
RECOMMENDED = slice_json(tflops_request="13", tflops_limit="26", vram_request="4Gi", vram_limit="8Gi")
RECOMMENDED_ANNOTATIONS = slice_annotations(
    tflops_request="13", tflops_limit="26", vram_request="4Gi", vram_limit="8Gi"
)
OUR_RECORDS = {keys.WORKLOAD, keys.ORIGINAL_RESOURCES, keys.APPLIED_RECOMMENDATION}
THURSDAY = cron_rule(
    "thursday",
    start="0 0 * * Thu",
    end="59 23 * * Thu",
    desired=slice_json(tflops_request="44", tflops_limit="99", vram_request="5Gi", vram_limit="10Gi"),
)
THURSDAY_ANNOTATIONS = slice_annotations(
    tflops_request="44", tflops_limit="99", vram_request="5Gi", vram_limit="10Gi"
)
ALL = {"autoSetResources": {"enable": True, "targetResource": "all"}}
GOLD = {keys.WORKLOAD_PROFILE: "gold"}


class FixedLookups:
    """Lookups over objects that are given as JSON."""

    def __init__(
        self,
        *,
        workloads: Sequence[Json] = (),
        profiles: Sequence[Json] = (),
        jobs: Mapping[str, Owner | None] | None = None,
        missing: Sequence[str] = (),
        cards: Sequence[Card] = (),
        by_hand: bool = False,
    ) -> None:
        self._workloads = {_key(each): replace(_known(each), by_hand=by_hand) for each in workloads}
        self._profiles = {_key(each): KnownSpec.of(each["spec"]) for each in profiles}
        self._jobs = dict(jobs or {})
        self._missing = missing
        self._cards = cards
        self._configurations = Configurations()

    def not_synced(self) -> Sequence[str]:
        return self._missing

    def workload(self, namespace: str, name: str) -> KnownWorkload | None:
        return self._workloads.get((namespace, name))

    def profile(self, namespace: str, name: str) -> KnownSpec | None:
        return self._profiles.get((namespace, name))

    def job_owner(self, namespace: str, name: str) -> Owner | None:
        if name not in self._jobs:
            raise UnknownJobError(name)
        return self._jobs[name]

    def configured(self, annotations: Mapping[str, str], base: KnownSpec | None) -> Configuration:
        return self._configurations.of(annotations, base)

    def card(self, gpu_model: str | None, requests: Amounts) -> Amounts:
        return cap_of(self._cards, gpu_model, models=load_models(), baseline=requests)


def review(obj: Any, *, namespace: str = "default", uid: str = "review-1", **request: Any) -> Json:
    """An AdmissionReview of a creation, as kube-apiserver sends it; `request` sets further fields."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            "object": obj,
            "oldObject": None,
            "dryRun": False,
            "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
            **request,
        },
    }


def created(pod: Json) -> Json:
    """A pod as it stands in a review: nothing runs yet."""
    pod = copy.deepcopy(pod)
    pod["status"] = {}
    pod["spec"].pop("nodeName", None)
    return pod


def request_for(obj: Any, **options: Any) -> AdmissionRequest:
    """The decoded request of a review."""
    return decode_review(json.dumps(review(obj, **options)).encode())


def decided(pod: Any, lookups: FixedLookups | None = None, *, now: float = NOON, **options: Any) -> Outcome:
    """What the webhook decides about a pod."""
    return decide(request_for(pod, **options), lookups=lookups or FixedLookups(), now=now)


def patched(pod: Json, outcome: Outcome) -> Json:
    """The pod after the patch, which goes over the wire and through a library that is not ours."""
    operations = json.loads(msgspec.json.encode(list(outcome.operations)))
    result: Json = jsonpatch.apply_patch(copy.deepcopy(pod), operations)
    return result


def annotations_after(pod: Json, outcome: Outcome) -> dict[str, str]:
    """The pod's annotations after the patch."""
    annotations: dict[str, str] = patched(pod, outcome)["metadata"].get("annotations", {})
    return annotations


def patch_of(answer: Json) -> list[Json]:
    """The operations in an answer; none where it carries no patch."""
    encoded = answer["response"].get("patch")
    operations: list[Json] = json.loads(base64.b64decode(encoded)) if encoded else []
    return operations


def web(**arguments: Any) -> Json:
    """A pod of Deployment `web` as it is created."""
    return created(deployment_pod("web", **arguments))


def knowing(config: Json | None = ALL, **arguments: Any) -> FixedLookups:
    """A cluster with the workload `web`, whose recommendation is published."""
    arguments.setdefault("recommendation", RECOMMENDED)
    return FixedLookups(workloads=[workload("web", auto_scaling_config=config, **arguments)])


def slice_of(annotations: Json) -> Json:
    return {key: annotations[key] for key in slice_annotations() if key in annotations}


def with_profile(config: Json, *, resources: Json | None = None, **workload_arguments: Any) -> FixedLookups:
    """A cluster with profile `gold`, and the workload `web` with a published recommendation."""
    spec = {"autoScalingConfig": config, **({"resources": resources} if resources else {})}
    workload_arguments.setdefault("recommendation", RECOMMENDED)
    return FixedLookups(
        profiles=[profile("gold", spec=spec)], workloads=[workload("web", **workload_arguments)]
    )


def _key(obj: Json) -> tuple[str, str]:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _known(obj: Json) -> KnownWorkload:
    return KnownWorkload(KnownSpec.of(obj["spec"]), read_status(obj.get("status", {})))
