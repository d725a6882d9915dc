"""What agents are made of: the two verbs, rollouts or replay, and gradient steps."""
