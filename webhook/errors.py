"""What can go wrong in the webhook: each error says what happened, to which object, and what to do."""

from typing import ClassVar

from vgpu.errors import AutoscalerError, ExitCode, StartupError


class WebhookError(AutoscalerError):
    """Anything that goes wrong in the webhook itself."""


class BadReviewError(WebhookError):
    """A request body that is not an AdmissionReview v1; the client gets a 400 with this text."""


class RegistrationRefusedError(WebhookError, StartupError):
    """A MutatingWebhookConfiguration of our name belongs to somebody else, and stays as it is."""

    exit_code: ClassVar[int] = ExitCode.CLUSTER

    def __init__(self, name: str, manager: str | None) -> None:
        owner = f"is managed by {manager!r}" if manager else "does not say who manages it"
        super().__init__(
            f"MutatingWebhookConfiguration {name!r} exists and {owner}: it is left as it is. Where manifests "
            "own it, start without --register; else delete it "
            f"(`kubectl delete mutatingwebhookconfiguration {name}`)"
        )
        self.name = name
        self.manager = manager


class LeftAloneError(WebhookError):
    """A reason to admit a pod as it is; the text becomes a warning for whoever creates the pod."""

    outcome: ClassVar[str]


class UnreadablePodError(LeftAloneError):
    """The object in the review cannot be read as a pod."""

    outcome = "unreadable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"pod admitted unchanged, it cannot be read: {reason}")


class CachesNotSyncedError(LeftAloneError):
    """The webhook has just started and does not know the cluster yet."""

    outcome = "not_synced"

    def __init__(self, missing: str) -> None:
        super().__init__(f"pod admitted unchanged, the webhook is still reading {missing}")


class UnknownJobError(LeftAloneError):
    """The pod's Job is not in the cache, so nobody can tell whether a CronJob made it."""

    outcome = "unknown_owner"

    def __init__(self, name: str) -> None:
        super().__init__(f"pod admitted unchanged, its Job {name!r} is not known yet")


class AnnotationsTooLargeError(LeftAloneError):
    """With our annotations the pod would be over Kubernetes' limit, and be rejected for it."""

    outcome = "too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"pod admitted unchanged, its annotations would be {size} bytes, {limit} are allowed"
        )
