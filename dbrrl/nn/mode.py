"""`evaluation`: evaluation mode for all modules of a thread, without a visit to any of them."""

import threading
from typing import Any

from dbrrl.autodiff.recording import state as recording_state

OWN, NOISE, NONE = range(3)  # modules that may be in training mode: all, those with exploration noise, none


class _State(threading.local):
    allowed = OWN


state = _State()


class evaluation:
    """Context manager in which all modules are in evaluation mode, whatever `train()` set, and no graph is recorded.

    It affects the current thread. Afterwards each module is in the mode that it was in before.

    Args:
        noise: modules with exploration noise (with `draws`, such as `NoisyLinear`) keep their own mode: for acting with
            exploration, and for the values of the policy that explores.
    """

    before: Any = ()  # (recording, allowed, the same of the level above), because it may be entered again inside

    def __init__(self, noise: bool = False) -> None:
        self.allowed = NOISE if noise else NONE

    def __enter__(self) -> None:
        allowed = state.allowed
        self.before = recording_state.recording, allowed, self.before
        recording_state.recording = False
        if self.allowed > allowed:
            state.allowed = self.allowed

    def __exit__(self, *_: object) -> None:
        recording_state.recording, state.allowed, self.before = self.before
