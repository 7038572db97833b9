"""The workload of a simulation: it decides as the recommender does, and remembers it as its status would."""

from recommender.decisions.configurations import Configuration, Configurations
from recommender.decisions.recommendation import Decision, decide, waiting_for
from recommender.decisions.standing import Published
from recommender.histories.estimation import Evidence
from recommender.simulation.trial import Trial
from vgpu.slices import Resource, VgpuSlice


class SimulatedWorkload:
    """Decides, from what the samples say and from what was decided before.

    Args:
        trial: what is tried.

    Attributes:
        published: what the status would say.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._config = trial.spec.auto_scaling_config.auto_set_resources
        self._configurations = Configurations()
        self.published = Published()

    def next_transition(self) -> float:
        """When the next cron rule begins or ends; infinite when none does, or nothing was decided yet."""
        return self._configurations.next_transition()

    def waiting_for(self, evidence: Evidence, now: float) -> str | None:
        """Why it is too early for usage to have a say, or None."""
        return waiting_for(self._config, samples=evidence.samples, first_sample=evidence.first, now=now)

    def decide(self, evidence: Evidence, now: float, waiting: str | None) -> tuple[Configuration, Decision]:
        """Make a decision.

        Args:
            evidence: what the samples say.
            now: the time, epoch seconds.
            waiting: why it is too early for them to have a say, or None.
        """
        configuration = self._configurations.read(self._trial.workload, now)
        decision = decide(
            estimates=evidence.estimates,
            config=self._config,
            baseline=self._trial.spec.resources,
            published=self.published,
            waiting=waiting,
            rule=configuration.rule,
            cap=self._trial.cap,
        )
        estimated = frozenset() if waiting else frozenset(evidence.estimates)
        self.published = _published(self.published, configuration, decision, estimated)
        return configuration, decision


def _published(
    before: Published, configuration: Configuration, decision: Decision, estimated: frozenset[Resource]
) -> Published:
    """What the status would say after a decision, and so what the next one starts from."""
    return Published(
        recommendation=decision.recommendation if decision.changed else before.recommendation,
        # As in the status, where the estimation of a resource stays while the recommendation rests on it.
        measured=estimated | (before.measured & decision.measured),
        rule=configuration.rule.name if configuration.rule else None,
        desired=configuration.rule.desired if configuration.rule else VgpuSlice(),
    )
