"""Names of other libraries are answered by what they mean, all others by their spelling."""

import inspect

import pytest

from dbrrl.agents import A2C, A3C, C51, DQN, PPO, QRDQN, Rainbow
from dbrrl.config import Config, settings
from dbrrl.config.suggestions import ALIASES, NOTES, did_you_mean, plain
from dbrrl.errors import ConfigError
from dbrrl.evaluate import main as evaluate
from dbrrl.experiment import Experiment, Settings, registry


def fields(config: type[Config]) -> list[str]:
    return [entry.name for entry in settings(config)]


@pytest.mark.parametrize(
    ("config", "name", "meant"),
    [
        (PPO.Config, "lr", "learning_rate"),
        (PPO.Config, "ent_coef", "entropy_coef"),
        (PPO.Config, "vf_coef", "value_coef"),
        (PPO.Config, "clip_coef", "clip_range"),
        (PPO.Config, "clip_range_vf", "clip_range_value"),
        (PPO.Config, "num_steps", "n_steps"),
        (PPO.Config, "update_epochs", "n_epochs"),
        (PPO.Config, "num_minibatches", "batch_size"),
        (PPO.Config, "lambda", "gae_lambda"),
        (PPO.Config, "total_timesteps", "total_steps"),  # in your own loop there is no other
        (PPO.Config, "net_arch", "hidden_sizes"),
        (PPO.Config, "eps", "adam_eps"),
        (A2C.Config, "rms_prop_eps", "optimizer_eps"),
        (A3C.Config, "rms_prop_eps", "rmsprop_eps"),
        (A3C.Config, "t_max", "n_steps"),
        (A3C.Config, "beta", "entropy_coef"),
        (DQN.Config, "exploration_fraction", "epsilon_steps"),
        (DQN.Config, "exploration_final_eps", "epsilon_end"),
        (DQN.Config, "train_freq", "update_interval"),
        (DQN.Config, "gradient_steps", "updates_per_interval"),
        (DQN.Config, "target_network_frequency", "target_update_interval"),
        (DQN.Config, "replay_buffer_size", "buffer_size"),
        (DQN.Config, "n_steps", "n_step"),
        (Rainbow.Config, "beta", "priority_beta"),
        (C51.Config, "v_min", "value_min"),
        (QRDQN.Config, "n_quantiles", "quantiles"),
        (Settings, "total_timesteps", "steps"),
        (Settings, "n_envs", "num_envs"),
        (Settings, "eval_freq", "eval_interval"),
        (Settings, "env_id", "env"),
        (PPO.Config, "learning_rat", "learning_rate"),
    ],
)
def test_a_name_of_another_library_is_answered_by_its_meaning(config: type[Config], name: str, meant: str) -> None:
    assert did_you_mean(name, fields(config)).startswith(f"; did you mean {meant!r}?")


@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("lr", ["actor_rate", "critic_rate", "gamma"], "; did you mean 'actor_rate' or 'critic_rate'?"),
        ("learning_rate", ["critic_rate", "learning_starts"], "; did you mean 'critic_rate'?"),
        ("--lr", ["--actor-rate", "--critic-rate", "--help"], "; did you mean '--actor-rate' or '--critic-rate'?"),
        ("--lr", ["--help", *(f"--setting-{number}" for number in range(13))], ""),
        ("--hel", ["--help", "--gamma"], "; did you mean '--help'?"),
    ],
)
def test_a_learning_rate_that_is_not_there_is_answered_with_what_is_one(
    name: str, known: list[str], answer: str
) -> None:
    assert did_you_mean(name, known) == answer


def test_flags_are_answered_with_flags() -> None:
    known = ["--entropy-coef", "--learning-rate", "--tensorboard", "--no-tensorboard"]
    assert did_you_mean("--ent-coef", known) == "; did you mean '--entropy-coef'?"
    assert did_you_mean("--LR", known) == "; did you mean '--learning-rate'?"
    assert did_you_mean("--tensorboard-log", known) == "; did you mean '--tensorboard'?"


def test_what_means_something_else_here_is_said() -> None:
    known = fields(DQN.Config)
    assert did_you_mean("exploration_fraction", known).endswith("(environment steps, not a share of the run)")
    assert "n_steps * num_envs / num_minibatches" in did_you_mean("num_minibatches", fields(PPO.Config))
    assert did_you_mean("policy", known).startswith(": the network follows from the spaces")


def test_every_alias_leads_to_an_existing_name() -> None:
    configs = [registry.agent_class(name).Config for name in registry.agent_names()]
    known = {name for config in (Settings, *configs) for name in fields(config)}
    known |= set(inspect.signature(Experiment).parameters) | {"video"}
    assert {meant for options in ALIASES.values() for meant in options} <= known
    assert all(name == plain(name) for name in ALIASES) and set(NOTES) <= set(ALIASES)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (
            "redq",
            ", which is not here yet; for continuous actions: a2c, a3c, ddpg, impala, ppo, reinforce, sac, td3, tqc",
        ),
        (
            "RPO",
            ", which is not here yet; for continuous actions: a2c, a3c, ddpg, impala, ppo, reinforce, sac, td3, tqc",
        ),
        (
            "muzero",
            ", which is not here yet; for discrete actions: a2c, a3c, c51, double_dqn, dqn, drqn, impala, iqn, ppo",
        ),
        ("r2d2", "; did you mean 'drqn'?"),
        ("ddqn", "; did you mean 'double_dqn'?"),
        ("QRDQN", "; did you mean 'qr_dqn'?"),
        ("recurrent_ppo", "; did you mean 'ppo' with recurrent=lstm?"),
        ("VPG", "; did you mean 'reinforce'?"),
        ("ppo_continuous_action", "; did you mean 'ppo'?"),
    ],
)
def test_an_agent_of_another_library_is_answered_by_what_it_does(name: str, answer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.agent_class(name)
    assert str(caught.value).startswith(f"unknown agent {name!r}{answer}")


def test_an_experiment_answers_with_its_own_arguments() -> None:
    for name, meant in {"total_timesteps": "steps", "verbose": "progress", "outdir": "out", "env_id": "env"}.items():
        with pytest.raises(ConfigError, match=f"unknown setting '{name}'; did you mean '{meant}'"):
            Experiment(**{name: 1})


def test_evaluate_answers_by_meaning_too() -> None:
    with pytest.raises(ConfigError, match="unknown argument '--capture-video'; did you mean '--video'"):
        evaluate(["runs/a", "--capture-video"])
