"""The bits of a replay buffer's `ends`."""

TERMINATED, TRUNCATED, INVALID = 1, 2, 4
