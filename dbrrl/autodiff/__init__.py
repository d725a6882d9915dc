"""The define-by-run core: engine, ops, gradient check and debugging."""
