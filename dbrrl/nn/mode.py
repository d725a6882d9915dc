"""Evaluation mode for a while, in which no module has to be visited."""

import threading
from typing import Any

from dbrrl.autodiff.recording import state as recording_state

OWN, NOISE, NONE = range(3)  # which modules may be in training mode: all, those that explore by noise, none


class _State(threading.local):
    allowed = OWN


state = _State()


class evaluation:
    """Context manager: inside, all modules are in evaluation mode, whatever `train()` said, and no graph is recorded.

    It holds for this thread. Afterwards each module is in the mode in which it was before.

    Args:
        noise: modules that explore by noise of their own, which their `draws` names (such as `NoisyLinear`), stay in
            the mode in which they are: for acting to explore, and for the values of the policy that does.
    """

    before: Any = ()  # (recording or not, allowed, the same one level further out): it may be entered again inside

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
