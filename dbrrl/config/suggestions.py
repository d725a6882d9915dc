"""The nearest known name to one that is not known: by its meaning in other libraries first, then by its spelling."""

import difflib
from collections.abc import Iterable

# What others call a setting, in the spelling of Python, and what it is called here, the likeliest first. Sources: the
# arguments of Stable-Baselines3 and RL Baselines3 Zoo, CleanRL's flags, PFRL's arguments, RLlib's and Tianshou's names.
ALIASES: dict[str, tuple[str, ...]] = {
    # the run
    "total_timesteps": ("steps", "total_steps"),
    "total_steps": ("steps",),
    "n_timesteps": ("steps", "total_steps"),
    "timesteps": ("steps", "total_steps"),
    "max_steps": ("steps", "total_steps"),
    "num_timesteps": ("steps", "total_steps"),
    "algo": ("agent",),
    "algorithm": ("agent",),
    "env_id": ("env",),
    "task": ("env",),
    "exp_name": ("name",),
    "run_name": ("name",),
    "outdir": ("out",),
    "logdir": ("out",),
    "log_dir": ("out",),
    "log_folder": ("out",),
    "save_path": ("out",),
    "n_envs": ("num_envs",),
    "num_workers": ("num_envs",),
    "num_env_runners": ("num_envs",),
    "training_num": ("num_envs",),
    "vec_env": ("vectorization",),
    "vec_env_cls": ("vectorization",),
    "vec_env_type": ("vectorization",),
    "vectorization_mode": ("vectorization",),
    "cuda": ("device",),
    "gpu": ("device",),
    "num_gpus": ("device",),
    "num_threads": ("threads",),
    "n_threads": ("threads",),
    "eval_freq": ("eval_interval",),
    "eval_frequency": ("eval_interval",),
    "n_eval_episodes": ("eval_episodes",),
    "eval_n_episodes": ("eval_episodes",),
    "eval_n_runs": ("eval_episodes",),
    "eval_n_steps": ("eval_steps",),
    "save_freq": ("checkpoint_interval",),
    "save_frequency": ("checkpoint_interval",),
    "checkpoint_freq": ("checkpoint_interval",),
    "checkpoint_frequency": ("checkpoint_interval",),
    "tensorboard_log": ("tensorboard",),
    "verbose": ("progress",),
    "progress_bar": ("progress",),
    "capture_video": ("video",),
    # gradient steps
    "lr": ("learning_rate",),
    "learning_rate_start": ("learning_rate",),
    "step_size": ("learning_rate",),
    "anneal_lr": ("learning_rate_schedule",),
    "lr_schedule": ("learning_rate_schedule",),
    "adam_epsilon": ("adam_eps", "optimizer_eps"),
    "eps": ("adam_eps", "optimizer_eps", "rmsprop_eps"),
    "rms_prop_eps": ("optimizer_eps", "rmsprop_eps"),
    "use_rms_prop": ("optimizer",),
    "alpha": ("rmsprop_alpha", "priority_alpha"),
    "max_gradient_norm": ("max_grad_norm",),
    "grad_clip": ("max_grad_norm",),
    "clip_grad": ("max_grad_norm",),
    "net_arch": ("hidden_sizes",),
    "hidden_dim": ("hidden_sizes",),
    "hidden_size": ("hidden_sizes",),
    "fcnet_hiddens": ("hidden_sizes",),
    "policy_kwargs": ("hidden_sizes",),
    "activation_fn": ("activation",),
    "lstm_hidden_size": ("recurrent_size",),
    "use_lstm": ("recurrent",),
    # returns and rollouts
    "discount": ("gamma",),
    "discount_factor": ("gamma",),
    "num_steps": ("n_steps", "n_step"),
    "n_steps": ("n_step",),
    "n_step": ("n_steps",),
    "t_max": ("n_steps",),
    "horizon": ("n_steps",),
    "rollout_length": ("n_steps",),
    "rollout_fragment_length": ("n_steps",),
    "estimation_step": ("n_step",),
    "lambd": ("gae_lambda",),
    "lambda": ("gae_lambda",),
    "lambda_": ("gae_lambda",),
    "lam": ("gae_lambda",),
    "num_minibatches": ("batch_size",),
    "n_minibatches": ("batch_size",),
    "nminibatches": ("batch_size",),
    "minibatch_size": ("batch_size",),
    "sgd_minibatch_size": ("batch_size",),
    "train_batch_size": ("batch_size",),
    "update_epochs": ("n_epochs",),
    "num_epochs": ("n_epochs",),
    "epochs": ("n_epochs",),
    "noptepochs": ("n_epochs",),
    "num_sgd_iter": ("n_epochs",),
    "repeat_per_collect": ("n_epochs",),
    # losses
    "ent_coef": ("entropy_coef",),
    "ent_coeff": ("entropy_coef",),
    "entropy_coeff": ("entropy_coef",),
    "entropy_weight": ("entropy_coef",),
    "beta": ("entropy_coef", "priority_beta"),
    "vf_coef": ("value_coef",),
    "vf_coeff": ("value_coef",),
    "vf_loss_coeff": ("value_coef",),
    "value_func_coef": ("value_coef",),
    "v_loss_coef": ("value_coef",),
    "clip_coef": ("clip_range",),
    "clip_param": ("clip_range",),
    "clip_eps": ("clip_range",),
    "eps_clip": ("clip_range",),
    "cliprange": ("clip_range",),
    "clip_range_vf": ("clip_range_value",),
    "clip_vloss": ("clip_range_value",),
    "clip_eps_vf": ("clip_range_value",),
    "vf_clip_param": ("clip_range_value",),
    # the trust region
    "target_kl": ("max_kl",),
    "delta": ("max_kl",),
    "max_kl_step": ("max_kl",),
    "desired_kl": ("max_kl",),
    "cg_iters": ("cg_iterations",),
    "cg_max_steps": ("cg_iterations",),
    "conjugate_gradient_max_iter": ("cg_iterations",),
    "damping_coeff": ("cg_damping",),
    "conjugate_gradient_damping": ("cg_damping",),
    "backtrack_coeff": ("backtrack_factor",),
    "line_search_shrinking_factor": ("backtrack_factor",),
    "backtrack_iters": ("backtrack_steps",),
    "max_backtracks": ("backtrack_steps",),
    "line_search_max_iter": ("backtrack_steps",),
    "vf_iters": ("critic_epochs",),
    "vf_epochs": ("critic_epochs",),
    "train_v_iters": ("critic_epochs",),
    "n_critic_updates": ("critic_epochs",),
    "optim_critic_iters": ("critic_epochs",),
    "vf_batch_size": ("critic_batch_size",),
    "vf_stepsize": ("learning_rate",),
    "vf_lr": ("learning_rate",),
    "norm_adv": ("normalize_advantage",),
    "standardize_advantages": ("normalize_advantage",),
    "normalize": ("normalize_observation",),
    "norm_obs": ("normalize_observation",),
    "norm_reward": ("normalize_reward",),
    "clip_rewards": ("clip_reward",),
    # replay and exploration
    "replay_buffer_size": ("buffer_size",),
    "memory_size": ("buffer_size",),
    "replay_start_size": ("learning_starts",),
    "warmup_steps": ("learning_starts",),
    "start_training": ("learning_starts",),
    "train_freq": ("update_interval",),
    "train_frequency": ("update_interval",),
    "gradient_steps": ("updates_per_interval",),
    "n_times_update": ("updates_per_interval",),
    "target_network_frequency": ("target_update_interval",),
    "target_update_freq": ("target_update_interval",),
    "target_update_frequency": ("target_update_interval",),
    "target_network_update_freq": ("target_update_interval",),
    "polyak": ("tau",),
    "soft_update_tau": ("tau",),
    "exploration_fraction": ("epsilon_steps",),
    "exploration_steps": ("epsilon_steps",),
    "decay_steps": ("epsilon_steps",),
    "exploration_initial_eps": ("epsilon_start",),
    "start_epsilon": ("epsilon_start",),
    "start_e": ("epsilon_start",),
    "exploration_final_eps": ("epsilon_end",),
    "end_epsilon": ("epsilon_end",),
    "end_e": ("epsilon_end",),
    "prioritized_replay": ("prioritized",),
    "prioritized_replay_alpha": ("priority_alpha",),
    "prioritized_replay_beta": ("priority_beta",),
    "n_atoms": ("atoms",),
    "num_atoms": ("atoms",),
    "v_min": ("value_min",),
    "v_max": ("value_max",),
    "n_quantiles": ("quantiles",),
    "num_quantiles": ("quantiles",),
}

# Where the value, too, means something else here.
NOTES = {
    "total_steps": "schedules end with the run",
    "exploration_fraction": "environment steps, not a share of the run",
    "num_minibatches": "transitions in each: n_steps * num_envs / num_minibatches",
    "n_minibatches": "transitions in each: n_steps * num_envs / n_minibatches",
    "nminibatches": "transitions in each: n_steps * num_envs / nminibatches",
    "anneal_lr": "linear or constant",
    "clip_vloss": "how far a value may move, or none",
    "policy_kwargs": "and activation; for more, set agent.network",
    "target_network_frequency": "updates, not environment steps",
    "target_update_freq": "updates between two",
    "normalize": "and normalize_reward",
    "cuda": "cpu, cuda or cuda:1",
    "gpu": "cpu, cuda or cuda:1",
}
# What others have and there is no setting for, and why.
ABSENT = {
    "policy": "the network follows from the spaces: see hidden_sizes and activation, or set agent.network",
    "policy_class": "the network follows from the spaces: see hidden_sizes and activation, or set agent.network",
    "model": "the network follows from the spaces: see hidden_sizes and activation, or set agent.network",
    "use_sde": "state-dependent exploration is not here",
    "sde_sample_freq": "state-dependent exploration is not here",
    "rollout_buffer_class": "the agent makes its own",
    "replay_buffer_class": "the agent makes its own: see prioritized, n_step and buffer_file",
    "verbose": "a run prints a line per evaluation; --quiet and --json print less and more",
    "stats_window_size": "it is always the latest 100 episodes",
    "track": "to log elsewhere give Experiment a callback",
    "wandb_project_name": "to log elsewhere give Experiment a callback",
    "torch_deterministic": "a seed always gives the same run on one machine",
}

# Agents by the names that others give them: the name here, and the settings that make it that one.
AGENTS = {
    "ddqn": ("double_dqn", ""),
    "doubledqn": ("double_dqn", ""),
    "duelingdqn": ("dqn", " with dueling=true"),
    "dueling_dqn": ("dqn", " with dueling=true"),
    "noisy_dqn": ("dqn", " with noisy=true"),
    "prioritized_dqn": ("dqn", " with prioritized=true"),
    "per": ("dqn", " with prioritized=true"),
    "qrdqn": ("qr_dqn", ""),
    "categorical_dqn": ("c51", ""),
    "categoricaldqn": ("c51", ""),
    "r2d2": ("drqn", ""),
    "discrete_sac": ("sac_discrete", ""),
    "discretesac": ("sac_discrete", ""),
    "recurrentppo": ("ppo", " with recurrent=lstm"),
    "recurrent_ppo": ("ppo", " with recurrent=lstm"),
    "ppo_lstm": ("ppo", " with recurrent=lstm"),
    "vpg": ("reinforce", ""),
    "vanilla_policy_gradient": ("reinforce", ""),
    "policy_gradient": ("reinforce", ""),
    "apex": ("dqn", " with workers=2, prioritized=true"),
    "apex_dqn": ("dqn", " with workers=2, prioritized=true"),
    "trpo_mpi": ("trpo", ""),
}
_CONTINUOUS, _DISCRETE = ("Box", "continuous"), ("Discrete", "discrete")
# Agents of others that are not here: the kind of action that they are taken for.
ABSENT_AGENTS = {
    **dict.fromkeys(("redq", "droq", "crossq", "rpo", "ars"), _CONTINUOUS),
    **dict.fromkeys(("acer", "acktr", "appo"), _DISCRETE),
    **dict.fromkeys(("maskable_ppo", "maskableppo", "muzero", "ppg", "pqn"), _DISCRETE),
    **dict.fromkeys(("dreamer", "dreamerv3", "tdmpc2"), _CONTINUOUS),
}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: "; did you mean 'ppo'?", or all names if few.

    A name that another library has for the same thing is answered by its meaning, in the spelling of `known`: flags
    for a flag ("--ent-coef": '--entropy-coef'), fields for a field.
    """
    options = sorted(known)
    asked = plain(name)
    by_plain = {plain(option): option for option in reversed(options) if not option.startswith("--no-")}
    meant = next((by_plain[alias] for alias in ALIASES.get(asked, ()) if alias in by_plain), None)
    if meant is not None:
        note = f" ({NOTES[asked]})" if asked in NOTES else ""
        return f"; did you mean {meant!r}?{note}"
    if asked in ABSENT:
        return f": {ABSENT[asked]}"
    rates = [option for option in options if plain(option).endswith("_rate")]
    if rates and "learning_rate" in (asked, *ALIASES.get(asked, ())):  # an agent that has one per network
        return f"; did you mean {' or '.join(map(repr, rates))}?"
    if not difflib.get_close_matches(asked, ["help"]):  # the dashes alone make "--lr" look like it
        options = [option for option in options if plain(option) != "help"]
    near = difflib.get_close_matches(name, options, n=1) or difflib.get_close_matches(
        name.lower(), [option for option in options if option.lower() == option], n=1
    )
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(options)}" if 0 < len(options) <= 12 else ""


def plain(name: str) -> str:
    """A flag or a field in one spelling: "--Ent-Coef" is ent_coef."""
    return name.lstrip("-").replace("-", "_").lower()
