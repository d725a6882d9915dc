"""The parts of agents: the two verbs, rollouts or replay, and gradient steps."""
