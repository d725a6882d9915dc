"""A module's tests are found by its name: dbrrl/buffers/replay.py is tested in tests/buffers/test_replay.py.

Where one test file serves several modules, the table says which one; a new module without tests fails here.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("dbrrl", "agents", "envs")
OPS = "tests/autodiff/test_ops.py"  # a row of tests/autodiff/table.py for every op
KERNELS = "tests/kernels/cuda/test_kernels.py"
TESTED_IN = {
    "agents/double_dqn.py": "tests/agents/test_dqn.py",
    "dbrrl/autodiff/arithmetic.py": OPS,
    "dbrrl/autodiff/arrange.py": OPS,
    "dbrrl/autodiff/chosen.py": OPS,
    "dbrrl/autodiff/contraction.py": OPS,
    "dbrrl/autodiff/cumulative.py": OPS,
    "dbrrl/autodiff/diagonal.py": OPS,
    "dbrrl/autodiff/elementwise.py": OPS,
    "dbrrl/autodiff/index.py": OPS,
    "dbrrl/autodiff/inplace.py": "tests/autodiff/test_nothing_lost.py",
    "dbrrl/autodiff/linalg.py": OPS,
    "dbrrl/autodiff/linear.py": OPS,
    "dbrrl/autodiff/loss.py": OPS,
    "dbrrl/autodiff/lstm.py": "tests/autodiff/test_recurrent.py",
    "dbrrl/autodiff/op.py": "tests/autodiff/test_engine.py",
    "dbrrl/autodiff/policy.py": OPS,
    "dbrrl/autodiff/pool.py": "tests/autodiff/test_conv.py",
    "dbrrl/autodiff/recording.py": "tests/autodiff/test_engine.py",
    "dbrrl/autodiff/reduce.py": OPS,
    "dbrrl/autodiff/register.py": "tests/autodiff/test_dispatch.py",
    "dbrrl/autodiff/remainder.py": OPS,
    "dbrrl/autodiff/sequence.py": "tests/autodiff/test_recurrent.py",
    "dbrrl/autodiff/shape.py": OPS,
    "dbrrl/autodiff/steps.py": "tests/autodiff/test_breadth.py",
    "dbrrl/autodiff/tensor.py": "tests/autodiff/test_engine.py",
    "dbrrl/autodiff/trigonometry.py": OPS,
    "dbrrl/autodiff/variance.py": OPS,
    "dbrrl/backend/capture.py": "tests/backend/test_device.py",
    "dbrrl/backend/counter_generator.py": KERNELS,
    "dbrrl/backend/precision.py": "tests/backend/test_device.py",
    "dbrrl/backend/scalar.py": "tests/backend/test_device.py",
    "dbrrl/benchmarks/estimate.py": "tests/benchmarks/test_pool.py",
    "dbrrl/benchmarks/figures.py": "tests/benchmarks/test_report.py",
    "dbrrl/benchmarks/folder.py": "tests/test_benchmark.py",
    "dbrrl/benchmarks/job.py": "tests/test_benchmark.py",
    "dbrrl/benchmarks/process.py": "tests/test_benchmark.py",
    "dbrrl/benchmarks/session.py": "tests/test_benchmark.py",
    "dbrrl/benchmarks/tables.py": "tests/benchmarks/test_report.py",
    "dbrrl/buffers/bits.py": "tests/buffers/test_replay.py",
    "dbrrl/buffers/cutting.py": "tests/buffers/test_replay.py",
    "dbrrl/buffers/loading.py": "tests/test_fuzz.py",
    "dbrrl/buffers/placement.py": "tests/buffers/test_stacks.py",
    "dbrrl/buffers/queue.py": "tests/buffers/test_replay.py",
    "dbrrl/buffers/ring.py": "tests/buffers/test_replay.py",
    "dbrrl/buffers/stores.py": "tests/buffers/test_stacks.py",
    "dbrrl/compiled/check.py": "tests/compiled/test_step.py",
    "dbrrl/compiled/layout.py": "tests/compiled/test_step.py",
    "dbrrl/compiled/programs.py": "tests/compiled/test_step.py",
    "dbrrl/config/scalars.py": "tests/config/test_settings.py",
    "dbrrl/config/scheduled.py": "tests/config/test_settings.py",
    "dbrrl/dashboard/app.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/commands.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/drawing.py": "tests/dashboard/test_chart.py",
    "dbrrl/dashboard/endpoints.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/files.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/insight.py": "tests/dashboard/test_inspector.py",
    "dbrrl/dashboard/messages.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/openapi.py": "tests/dashboard/test_server.py",
    "dbrrl/dashboard/played.py": "tests/dashboard/test_inspector.py",
    "dbrrl/dashboard/runs.py": "tests/dashboard/test_index.py",
    "dbrrl/dashboard/service.py": "tests/dashboard/test_server.py",
    "dbrrl/debugging/draw.py": "tests/debugging/test_debug.py",
    "dbrrl/debugging/gpu_memory.py": "tests/debugging/test_debug.py",
    "dbrrl/distributions/base.py": "tests/distributions/test_categorical.py",
    "dbrrl/explorers/base.py": "tests/explorers/test_explorers.py",
    "dbrrl/explorers/continuous.py": "tests/explorers/test_explorers.py",
    "dbrrl/explorers/discrete.py": "tests/explorers/test_explorers.py",
    "dbrrl/errors.py": "tests/autodiff/test_errors.py",
    "dbrrl/evaluate.py": "tests/test_commands.py",
    "dbrrl/experiment/build.py": "tests/experiment/test_experiment.py",
    "dbrrl/experiment/command.py": "tests/test_commands.py",
    "dbrrl/experiment/directory.py": "tests/experiment/test_experiment.py",
    "dbrrl/experiment/acting.py": "tests/test_commands.py",
    "dbrrl/experiment/heartbeat.py": "tests/experiment/test_journal.py",
    "dbrrl/experiment/in_process.py": "tests/experiment/test_driver.py",
    "dbrrl/experiment/interruption.py": "tests/experiment/test_saving.py",
    "dbrrl/experiment/loading.py": "tests/test_fuzz.py",
    "dbrrl/experiment/ray_acting.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_actor.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_learner.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_cluster.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_driver.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_pool.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/ray_member.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/shares.py": "tests/experiment/test_ray.py",
    "dbrrl/experiment/record.py": "tests/experiment/test_git.py",
    "dbrrl/experiment/resuming.py": "tests/experiment/test_objects.py",
    "dbrrl/experiment/run.py": "tests/experiment/test_experiment.py",
    "dbrrl/experiment/settings.py": "tests/experiment/test_experiment.py",
    "dbrrl/experiment/settings_file.py": "tests/experiment/test_trust.py",
    "dbrrl/experiment/shared.py": "tests/experiment/test_workers.py",
    "dbrrl/experiment/video.py": "tests/test_commands.py",
    "dbrrl/experiment/steered.py": "tests/experiment/test_steering.py",
    "dbrrl/experiment/worker.py": "tests/experiment/test_workers.py",
    "dbrrl/functional.py": OPS,
    "dbrrl/autodiff/ensemble.py": OPS,
    "dbrrl/nn/frozen.py": "tests/nn/test_ensemble.py",
    "dbrrl/kernels/cpu/indices.py": "tests/kernels/cpu/test_numpy_functions.py",
    "dbrrl/kernels/cpu/linear.py": "tests/kernels/cpu/test_memory.py",
    "dbrrl/kernels/checks.py": "tests/kernels/cpu/test_checks.py",
    "dbrrl/kernels/environments.py": "tests/kernels/cpu/test_environments.py",
    "dbrrl/kernels/cpu/products.py": "tests/kernels/cpu/test_numpy_functions.py",
    "dbrrl/kernels/cpu/reductions.py": "tests/kernels/cpu/test_numpy_functions.py",
    "dbrrl/kernels/cpu/names.py": "tests/kernels/cpu/test_program.py",
    "dbrrl/kernels/cpu/record.py": "tests/kernels/cpu/test_program.py",
    "dbrrl/kernels/cpu/recorder.py": "tests/kernels/cpu/test_program.py",
    "dbrrl/kernels/cpu/steps.py": "tests/compiled/test_step.py",
    "dbrrl/kernels/cpu/trace.py": "tests/kernels/cpu/test_program.py",
    "dbrrl/kernels/cpu/traced_ops.py": "tests/compiled/test_updates.py",
    "dbrrl/kernels/cuda/arrays.py": "tests/backend/test_device.py",
    "dbrrl/kernels/cuda/blas.py": "tests/backend/test_device.py",
    "dbrrl/kernels/cuda/conv.py": KERNELS,
    "dbrrl/kernels/cuda/dense.py": KERNELS,
    "dbrrl/kernels/cuda/graph.py": "tests/backend/test_device.py",
    "dbrrl/kernels/cuda/linear.py": KERNELS,
    "dbrrl/kernels/cuda/loss.py": KERNELS,
    "dbrrl/kernels/cuda/networks.py": KERNELS,
    "dbrrl/kernels/cuda/normalize.py": KERNELS,
    "dbrrl/kernels/cuda/optim.py": KERNELS,
    "dbrrl/kernels/cuda/policy.py": KERNELS,
    "dbrrl/kernels/cuda/random.py": KERNELS,
    "dbrrl/kernels/cuda/recurrent.py": "tests/backend/test_device.py",
    "dbrrl/kernels/cuda/returns.py": KERNELS,
    "dbrrl/learning/asynchronous.py": "tests/agents/test_a3c.py",
    "dbrrl/learning/captured_step.py": "tests/learning/test_gradient_step.py",
    "dbrrl/learning/config.py": "tests/learning/test_off_policy.py",
    "dbrrl/learning/open_policy.py": "tests/learning/test_agent.py",
    "dbrrl/learning/team_steps.py": "tests/learning/test_team.py",
    "dbrrl/learning/on_policy.py": "tests/agents/test_ppo.py",
    "dbrrl/learning/rebuild.py": "tests/checkpoint/test_untrusted.py",
    "dbrrl/learning/transition.py": "tests/learning/test_agent.py",
    "dbrrl/networks/actor_critic.py": "tests/agents/test_ppo_loss.py",
    "dbrrl/nn/activations.py": "tests/nn/test_layers.py",
    "dbrrl/nn/mode.py": "tests/agents/test_evaluation_mode.py",
    "dbrrl/nn/networks.py": "tests/nn/test_conv.py",
    "dbrrl/nn/sequential.py": "tests/nn/test_layers.py",
    "dbrrl/optim/adam.py": "tests/optim/test_optimizer.py",
    "dbrrl/optim/rmsprop.py": "tests/optim/test_optimizer.py",
    "dbrrl/optim/sgd.py": "tests/optim/test_optimizer.py",
    "dbrrl/plot.py": "tests/test_commands.py",
    "dbrrl/reporting/canvas.py": "tests/reporting/test_curves.py",
    "dbrrl/testing.py": "tests/learning/test_agent.py",
    "dbrrl/train.py": "tests/test_commands.py",
    "dbrrl/networks/recurrent_q_network.py": "tests/agents/test_drqn.py",
    "envs/acrobot.py": "tests/envs/test_batched.py",
    "envs/cartpole.py": "tests/envs/test_batched.py",
    "envs/bit_flipping.py": "tests/envs/test_toys.py",
    "envs/chain.py": "tests/envs/test_toys.py",
    "envs/failures.py": "tests/envs/test_vector.py",
    "envs/identity.py": "tests/envs/test_toys.py",
    "envs/leaves.py": "tests/envs/test_validation.py",
    "envs/masked.py": "tests/envs/test_toys.py",
    "envs/mountain_car.py": "tests/envs/test_batched.py",
    "envs/names.py": "tests/envs/test_construct.py",
    "envs/success.py": "tests/experiment/test_evaluation.py",
    "envs/pendulum.py": "tests/envs/test_batched.py",
    "envs/probes.py": "tests/envs/test_toys.py",
    "envs/recorder.py": "tests/envs/test_resume.py",
    "envs/registration.py": "tests/envs/test_construct.py",
    "envs/snapshot.py": "tests/envs/test_resume.py",
}
# Nothing in them is computed.
WITHOUT_TESTS = {"dbrrl/types.py"}


def own_test(module: str) -> str:
    """The test file of a module's own name."""
    folder, _, name = module.removeprefix("dbrrl/").rpartition("/")
    return "/".join(part for part in ("tests", folder, f"test_{name.removesuffix('.py').strip('_')}.py") if part)


def misplaced(modules: set[str], tests: set[str], table: dict[str, str]) -> list[str]:
    """One line for each module without tests and each row of the table that is wrong."""
    own = {module for module in modules if own_test(module) in tests}
    without = modules - own - {*table}
    found = [f"{module}: add {own_test(module)}, or a row in tests/test_mirror.py" for module in without]
    for module, test in table.items():
        if module not in modules:
            found.append(f"{module} is in the table, and is no module")
        elif module in own:
            found.append(f"{module} is in the table, and has {own_test(module)}")
        if test not in tests:
            found.append(f"{test} is in the table, and is no file")
    return sorted(found)


def files(*folders: str) -> set[str]:
    """Paths of the sources in `folders`, each once."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py" and not any(parent.is_symlink() for parent in path.parents)
    }


def test_every_module_has_tests_that_its_name_or_the_table_leads_to() -> None:
    assert misplaced(files(*FOLDERS) - WITHOUT_TESTS, files("tests"), TESTED_IN) == []


def test_what_is_misplaced_is_named() -> None:
    tests = {"tests/nn/test_conv.py", "tests/test_main.py", "tests/agents/test_ppo.py"}
    modules = {"dbrrl/nn/conv.py", "dbrrl/__main__.py", "agents/ppo.py"}
    assert misplaced(modules, tests, {}) == []
    assert misplaced({*modules, "dbrrl/nn/pool.py"}, tests, {"dbrrl/nn/pool.py": "tests/nn/test_conv.py"}) == []
    assert misplaced({"dbrrl/losses.py"}, tests, {})[0].startswith("dbrrl/losses.py: add tests/test_losses.py")
    (own,) = misplaced(modules, tests, {"dbrrl/nn/conv.py": "tests/test_main.py"})
    assert own == "dbrrl/nn/conv.py is in the table, and has tests/nn/test_conv.py"
    assert misplaced(modules, tests, {"dbrrl/gone.py": "tests/test_main.py"}) == [
        "dbrrl/gone.py is in the table, and is no module"
    ]
    assert misplaced({"a.py"}, tests, {"a.py": "tests/gone.py"}) == ["tests/gone.py is in the table, and is no file"]
