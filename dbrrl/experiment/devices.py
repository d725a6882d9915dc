"""Choice of a run's device: as set, or by the size of the work for `--device auto`."""

import dataclasses

from dbrrl import backend
from dbrrl.envs import construct
from dbrrl.envs.given import Instance
from dbrrl.errors import ConfigError

from .settings import Plan

# Multiply-adds of a layer over a batch from which a GPU is faster. An update launches some 200 kernels, 10 µs each from
# Python: 2 ms on a GPU, however small the layers. One CPU core does 1e8 multiply-adds in that time, and an update has
# three products per layer. Two layers of 64 over a batch of 256 have 1e6, Nature's CNN over one of 32 has 5e7.
LARGE = 2**25
# Copies of an environment in one array program from which a GPU is faster. On an H100, PPO took 0.23 ms for a step of
# all copies in CartPole-v1, learning included, with 64 as with 8 copies: 273,000 steps/s with 64; a CPU core: 98,000.
MANY = 64


def choose(matmul: int, copies: int, missing: str | None) -> tuple[str, str]:
    """Return the device for a run, "cpu" or "cuda", and the reason in a few words.

    Args:
        matmul: multiply-adds of the agent's largest layer over a batch.
        copies: environments that step as one array program; 0 for environments that do not.
        missing: why no GPU can be used; None if one can.
    """
    if copies >= MANY:
        reason = f"{copies:,} environments step as one array program, from {MANY} on a GPU is worth it"
    elif matmul >= LARGE:
        reason = f"the largest layer has {matmul / 1e6:,.0f} million multiply-adds a batch, a GPU is worth it"
    else:
        return "cpu", (
            f"the largest layer has {matmul / 1e6:.2g} million multiply-adds a batch, below {LARGE / 1e6:.0f} million "
            "a GPU takes longer to launch them than a CPU to do them"
        )
    return ("cuda", reason) if missing is None else ("cpu", f"{reason}, but there is none: {missing}")


def missing_gpu() -> str | None:
    """Return why "cuda" cannot be used; None if it can."""
    try:
        backend.require("cuda")
    except ConfigError as error:
        return str(error).removeprefix("device: ")
    return None


def copies(plan: Plan) -> int:
    """Return how many environments step as one array program that can run on the agent's GPU, 0 if they do not."""
    settings = plan.settings
    if not plan.agent_class.supports_device_envs(plan.config):
        return 0
    if isinstance(plan.env, Instance):
        return 0
    request = construct.Request(plan.env, plan.env_kwargs)
    return settings.num_envs if construct.choose(request, settings.vectorization) == "batched" else 0


def on(plan: Plan, device: str, reason: str = "") -> Plan:
    """Return the plan with another device; `reason`: why it was chosen."""
    return dataclasses.replace(plan, settings=plan.settings.replace(device=device), device_reason=reason)


def check(plan: Plan) -> None:
    """Raise ConfigError if the agent or the machine does not support the device."""
    device = plan.settings.device
    if device == "auto":
        return
    if plan.settings.tf32 and backend.parse_device(device)[0] == "cpu":
        raise ConfigError("tf32: expected a GPU, which has this type, got the device 'cpu': leave it out")
    if plan.agent_class.asynchronous and backend.parse_device(device)[0] != "cpu":
        raise ConfigError(
            f"device: {plan.settings.agent} shares its weights between processes in memory, expected 'cpu', got "
            f"{device!r}: leave it out"
        )
    backend.require(device)
