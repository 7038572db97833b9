"""Why an external scaler has given no answer; all of it is told in a status, so none of it holds secrets."""

from typing import ClassVar

from recommender.decisions.advising import ScalerReason
from recommender.errors import RecommenderError


class ScalerError(RecommenderError):
    """No answer that counts; `reason` is that of the condition ExternalScalerAvailable."""

    reason: ClassVar[ScalerReason] = "Unreachable"


class NotAllowed(ScalerError):
    """The operator does not allow the address, or where it leads to."""

    reason = "NotAllowed"


class SecretUnusable(ScalerError):
    """The token cannot be had."""

    reason = "SecretUnusable"


class Unreachable(ScalerError):
    """No connection, none that can be trusted, no answer in time, or one that the scaler is in trouble."""

    reason = "Unreachable"


class InvalidAnswer(ScalerError):
    """An answer that is none: refused, misspelt, or of amounts that cannot be meant."""

    reason = "InvalidAnswer"
