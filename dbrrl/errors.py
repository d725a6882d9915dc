"""The errors a caller can cause: each says what was expected, what came, and the cure."""


class DbrrlError(Exception):
    """Base of every error the library raises on purpose; commands print it as one line and exit with 2."""


class ShapeError(DbrrlError, ValueError):
    """An array has the wrong shape."""


class DtypeError(DbrrlError, TypeError):
    """An array has the wrong dtype."""


class DeviceError(DbrrlError, TypeError):
    """Tensors of one computation are on different devices."""


class GraphError(DbrrlError, RuntimeError):
    """The recorded graph cannot be walked: freed, changed in place, or started from a non-scalar."""


class AnomalyError(DbrrlError, FloatingPointError):
    """An op gave a NaN or an infinity while anomaly detection was on, or a number that must be finite is not."""


class ConfigError(DbrrlError, ValueError):
    """A setting is unknown or out of range."""


class ArgumentError(ConfigError, TypeError):
    """A call has an argument that there is not, or is written as in another library; the message has the right call."""


class SpaceError(DbrrlError, ValueError):
    """An agent does not serve this observation or action space."""


class EnvError(DbrrlError, RuntimeError):
    """An environment is unknown or broke its contract (environment index, step and field are named)."""


class WorkerError(DbrrlError, RuntimeError):
    """A process of an asynchronous run died (its index, its step and its own error are named)."""


class CheckpointError(DbrrlError, RuntimeError):
    """A checkpoint is damaged, foreign, or made for another agent or other spaces."""


class RunError(DbrrlError, RuntimeError):
    """A run directory cannot be used: it exists, is incomplete, or is not one of ours."""


class GradientError(DbrrlError, AssertionError):
    """A gradient differs from the central difference it was checked against."""


def undefined(x: object, method: str) -> NotImplementedError:
    """Return the error for a method that the class of `x` has to define, and does not."""
    return NotImplementedError(f"{type(x).__name__} has no {method}(): expected one, define it in the class")


def no_gradient(update: int | None = None, found: str = "") -> str:
    """Return the error message for a gradient that is not finite; `found` adds what is known of it."""
    where = "" if update is None else f" in update {update}"
    return (
        f"expected a finite gradient{where}, got nan or inf{found}: lower the learning rate, or find the op with "
        "dbrrl.detect_anomaly()"
    )


def other_count(where: str, what: str, num_envs: int, got: object, rows: int) -> ShapeError:
    """Return the error for `what`, expected of `num_envs` environments, that came as `got`, of `rows` environments."""
    return ShapeError(
        f"{where}: expected {what} of {num_envs} environments (num_envs), got {got}: make the agent with "
        f"num_envs={rows}, and with the single_observation_space and single_action_space of a vector environment"
    )
