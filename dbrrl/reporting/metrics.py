"""The table of statistics: what each column of scores.csv and progress.csv means, its unit, and which way is better."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A statistic of a run.

    Attributes:
        meaning: one sentence.
        unit: "" for a number without one.
        better: "higher", "lower", or "" where neither is better by itself.
    """

    meaning: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""


METRICS: dict[str, Metric] = {
    "steps": Metric("environment steps, all environments together", "steps"),
    "episodes": Metric("training episodes that have ended", "episodes"),
    "elapsed": Metric("time of the run, evaluations included", "s"),
    "mean": Metric("mean return of an evaluation without exploration", "return", "higher"),
    "median": Metric("median return of an evaluation", "return", "higher"),
    "stdev": Metric("sample standard deviation of an evaluation's returns", "return", "lower"),
    "min": Metric("lowest return of an evaluation", "return", "higher"),
    "max": Metric("highest return of an evaluation", "return", "higher"),
    "success_rate": Metric("share of an evaluation's episodes that reached their goal", "", "higher"),
    "evaluation_episodes": Metric("episodes of an evaluation", "episodes"),
    "mean_return": Metric("mean return of the latest 100 training episodes, with exploration", "return", "higher"),
    "mean_length": Metric("mean length of the latest 100 training episodes", "steps"),
    "steps_per_second": Metric("environment steps in a second since the row before", "steps/s", "higher"),
    "num_updates": Metric("updates of the agent", "updates"),
    "learning_rate": Metric("step size of the optimizer"),
    "grad_norm": Metric("norm of the gradient before it is clipped"),
    "policy_loss": Metric("the policy's part of the loss"),
    "value_loss": Metric("error of the values that are learned, as the loss has it"),
    "entropy": Metric("mean entropy of the policy", "nats"),
    "approx_kl": Metric("estimate of the divergence of the new policy from the old one", "nats"),
    "kl": Metric("mean divergence of the new policy from the old one", "nats"),
    "clip_fraction": Metric("share of the ratios of probabilities outside of the clip range"),
    "mean_ratio": Metric("mean ratio of probabilities, of the policy that learns to the one that acted"),
    "explained_variance": Metric("share of the returns' variance that the values explain; 1 is all", "", "higher"),
    "improvement": Metric("surrogate advantage that the line search accepted"),
    "step_share": Metric("share of the full step that the line search took; 0: none was accepted"),
    "loss": Metric("loss of the latest updates"),
    "error": Metric("mean absolute error between values and targets"),
    "value": Metric("mean value of the actions in the batch"),
    "alpha": Metric("temperature: the weight of the entropy"),
    "log_prob": Metric("mean log-probability of the policy's actions", "nats"),
    "epsilon": Metric("probability of a random action"),
    "beta": Metric("exponent of the weights that correct for prioritized replay"),
    "staleness": Metric("most updates between the weights that acted and what was learned from it", "updates", "lower"),
    "noise": Metric("scale of the noise that is added to actions"),
}


def describe(name: str) -> Metric:
    """Return a statistic's entry; of "critic_loss", which has none, that of "loss", with its part named."""
    words = name.split("_")
    for count in range(len(words)):
        known = METRICS.get("_".join(words[count:]))
        if known is not None:
            part = f"of the {' '.join(words[:count])}: " if count else ""
            return Metric(part + known.meaning, known.unit, known.better)
    return Metric(" ".join(words))
