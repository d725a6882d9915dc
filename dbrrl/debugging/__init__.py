"""Tools to look into a graph: anomaly detection, profile, drawing, gradient check."""
