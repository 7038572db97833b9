"""Which configuration counts for a pod: the first usable one of those that it could have. Pure.

1. A workload that a person made configures its pods alone, as it does for the recommender.
2. A pod that names a profile has that profile's, with its own annotations over it.
3. One that names none has its workload's own, if there is a workload, with its annotations over that; else
   its annotations alone.
4. Where a profile cannot be used, the workload's stands in: the recommender keeps the last good one there.
   Without a workload nothing is recommended, and no rule is known.
"""

from dataclasses import dataclass

from vgpu.annotations import WORKLOAD_PROFILE
from vgpu.slices import VgpuSlice
from webhook.configuration import Configuration, KnownSpec
from webhook.edits import Subject
from webhook.lookups import KnownWorkload, Lookups


@dataclass(frozen=True, slots=True)
class Choice:
    """What counts for a pod.

    Attributes:
        configuration: the one that counts.
        problems: what is wrong with those that come before it, a sentence for each.
        resources: the slice of the pod's profile, which fills in what the pod leaves out.
    """

    configuration: Configuration
    problems: tuple[str, ...]
    resources: VgpuSlice


def choose(subject: Subject, workload: KnownWorkload | None, lookups: Lookups) -> Choice:
    """What counts for a pod.

    Args:
        subject: the pod.
        workload: its TensorFusionWorkload, if there is one.
        lookups: what is known of the cluster.
    """
    if workload is not None and workload.by_hand:
        return _of_a_person(subject, workload)
    problems: list[str] = []
    bases: list[tuple[str, KnownSpec]] = []
    profile_name = subject.annotations.get(WORKLOAD_PROFILE)
    if profile_name:
        source = f"WorkloadProfile {profile_name!r}"
        profile = lookups.profile(subject.namespace, profile_name)
        if profile is None:
            problems.append(f"{source}: not found in namespace {subject.namespace}")
        else:
            bases.append((source, profile))
    if workload is not None:
        bases.append((f"TensorFusionWorkload {subject.workload_name!r}", workload.own))
    for source, base in bases:
        configuration = lookups.configured(subject.annotations, base)
        if configuration.problem is None:
            return Choice(
                configuration, tuple(problems), configuration.resources if profile_name else VgpuSlice()
            )
        problems.append(f"{source}: {configuration.problem}")
    # No annotation makes a configuration unusable: what cannot be read in one counts as not given.
    return Choice(lookups.configured(subject.annotations, None), tuple(problems), VgpuSlice())


def _of_a_person(subject: Subject, workload: KnownWorkload) -> Choice:
    configuration = workload.own.configuration
    if configuration.problem is None:
        return Choice(configuration, (), VgpuSlice())
    problem = f"TensorFusionWorkload {subject.workload_name!r}: {configuration.problem}"
    return Choice(Configuration(), (problem,), VgpuSlice())
