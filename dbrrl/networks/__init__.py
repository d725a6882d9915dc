"""Networks of agents: the encoder of observations, actor-critics, Q-networks, action heads and recurrence."""
