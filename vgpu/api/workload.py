"""The spec of a TensorFusionWorkload or a WorkloadProfile."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from vgpu.api.autoscaling import AutoScalingConfig
from vgpu.api.errors import ConfigurationError
from vgpu.api.fields import Model, SliceField
from vgpu.slices import Resource, VgpuSlice


class WorkloadSpec(Model):
    """What a workload asks for, and how it is scaled.

    Attributes:
        resources: the slice of one GPU, the baseline of every recommendation.
        auto_scaling_config: how the slice and the replicas follow use and time.
        gpu_count: how many such slices each pod holds.
        gpu_model: the model that the pods ask for, if they do.
        pool_name: the pool of GPUs, if one is named.
        qos: the quality of service level, if one is named.
        replicas: how many pods there shall be, where the workload itself says so.
    """

    resources: SliceField = VgpuSlice()
    auto_scaling_config: AutoScalingConfig = AutoScalingConfig()
    # Generated clients write a count that nobody gave as 0.
    gpu_count: Annotated[int, Field(ge=0), AfterValidator(lambda count: count or 1)] = 1
    gpu_model: str | None = None
    pool_name: str | None = None
    qos: str | None = None
    replicas: Annotated[int, Field(ge=0)] | None = None

    def applied_resources(self) -> frozenset[Resource]:
        """The resources whose recommendation is applied to pods, not only shown.

        While replicas scale on TFLOPS use, TFLOPS is only recommended: a smaller slice would cap the use and
        make a saturated service look idle.
        """
        config = self.auto_scaling_config
        if not config.auto_set_resources.enable:
            return frozenset()
        targets = config.auto_set_resources.targets
        if config.auto_set_replicas.enable and not config.allow_both:
            return targets - {Resource.TFLOPS}
        return targets


def parse_spec(spec: Mapping[str, object]) -> WorkloadSpec:
    """Read a spec as the API server stores it.

    Raises:
        ConfigurationError: with everything that is wrong; unknown keys are not.
    """
    try:
        return WorkloadSpec.model_validate(spec)
    except ValidationError as error:
        raise ConfigurationError.from_validation(error, root="spec") from error
