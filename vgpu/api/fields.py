"""The building blocks of the models: keys in any spelling, and the types of single fields."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from vgpu.api.errors import FieldProblems, Problem
from vgpu.quantities import parse_duration
from vgpu.slices import Amounts, Resource, VgpuSlice, format_amount, parse_amount


class Model(BaseModel):
    """An object of the API: frozen, its keys matched without regard to case, unknown ones left to others."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        coerce_numbers_to_str=True,
    )

    synonyms: ClassVar[Mapping[str, str]] = {}
    """Other names of fields in use: lower case to the documented key."""

    @model_validator(mode="before")
    @classmethod
    def _match_keys(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        return cls.prepared(_documented_keys(data, _spellings(cls)))

    @classmethod
    def prepared(cls, data: dict[str, object]) -> dict[str, object]:
        """A hook for models that look at their fields, under documented keys, before these are checked."""
        return data


@cache
def _spellings(model: type[Model]) -> Mapping[str, str]:
    """Lower-case spellings of a model's keys, and the documented key of each."""
    known = dict(model.synonyms)
    for name, field in model.model_fields.items():
        documented = field.alias or name
        known |= {name: documented, documented.lower(): documented}
    return known


def _documented_keys(data: Mapping[object, object], known: Mapping[str, str]) -> dict[str, object]:
    """The known and given fields under their documented keys.

    An empty text is as good as no field: that is how generated clients write one. Where several spellings of
    one field are given the documented one wins, and after it the one that is not a synonym.
    """
    found: dict[str, object] = {}
    for key, value in sorted(data.items(), key=lambda item: _closeness(str(item[0]), known)):
        documented = known.get(str(key).lower())
        if documented is not None and value is not None and value != "":
            found[documented] = value
    return found


def _closeness(key: str, known: Mapping[str, str]) -> int:
    documented = known.get(key.lower())
    if documented is None:
        return 0
    return 1 + (documented.lower() == key.lower()) + (documented == key)


@dataclass(frozen=True, slots=True)
class Through:
    """Annotation: check the field as `source`, then make a `result` of it.

    Problems inside keep their own paths. A value that is a `result` already is taken as it is.
    """

    source: Any
    convert: Callable[[Any], object]
    result: type

    def __get_pydantic_core_schema__(self, _type: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Pydantic's hook for annotations."""
        return core_schema.no_info_wrap_validator_function(
            self._validate, handler.generate_schema(self.source)
        )

    def _validate(self, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        return value if isinstance(value, self.result) else self.convert(handler(value))


def _number(value: object) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type] # the error is caught
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'{value!r} is not a number; write it like 0.9 or "0.9"')
    return number


def _between_zero_and_one(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value:g} is not between 0 and 1; write 0.9 for 90 %")
    return value


def _zero_or_more(value: float) -> float:
    if value < 0:
        raise ValueError(f"{value:g} is negative; zero or more is allowed")
    return value


def _above_zero(value: float) -> float:
    if value <= 0:
        raise ValueError(f"{value:g} is not above zero")
    return value


def _seconds(value: object) -> float:
    return parse_duration(value) if isinstance(value, str) else _zero_or_more(_number(value))


Share = Annotated[float, BeforeValidator(_number), AfterValidator(_between_zero_and_one)]
"""A fraction from 0 to 1, as number or text."""
Fraction = Annotated[float, BeforeValidator(_number), AfterValidator(_zero_or_more)]
"""A fraction of zero or more, as number or text."""
Ratio = Annotated[float, BeforeValidator(_number), AfterValidator(_above_zero)]
"""A factor above zero, as number or text."""
Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A duration in seconds, written as a Go duration or as a number of seconds."""
Count = Annotated[int, Field(ge=1)]
"""A whole number from one on, as number or text."""


class AmountsModel(Model):
    """Requests or limits as they are written."""

    tflops: Annotated[int | None, BeforeValidator(lambda value: parse_amount(Resource.TFLOPS, value))] = None
    vram: Annotated[int | None, BeforeValidator(lambda value: parse_amount(Resource.VRAM, value))] = None

    def amounts(self) -> Amounts:
        """The amounts in internal units."""
        return Amounts(tflops=self.tflops, vram=self.vram)


class SliceModel(Model):
    """A slice as it is written; no request may exceed its limit."""

    requests: AmountsModel = AmountsModel()
    limits: AmountsModel = AmountsModel()

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        raise_problems(_exceeding(self.requests.amounts(), self.limits.amounts()))
        return self

    def vgpu_slice(self) -> VgpuSlice:
        """The slice in internal units."""
        return VgpuSlice(requests=self.requests.amounts(), limits=self.limits.amounts())


def _exceeding(requests: Amounts, limits: Amounts) -> Iterator[Problem]:
    for resource in Resource:
        request, limit = requests.get(resource), limits.get(resource)
        if request is not None and limit is not None and request > limit:
            texts = format_amount(resource, request), format_amount(resource, limit)
            yield Problem(f"requests.{resource}", f"{texts[0]} is above limits.{resource} {texts[1]}")


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise what is wrong between the fields of an object, if anything is; for use in its validators."""
    found = tuple(problems)
    if found:
        raise FieldProblems(found)


AmountsField = Annotated[Amounts, Through(AmountsModel, AmountsModel.amounts, Amounts)]
"""Requests or limits."""
SliceField = Annotated[VgpuSlice, Through(SliceModel, SliceModel.vgpu_slice, VgpuSlice)]
"""A slice."""
