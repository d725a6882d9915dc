"""The part of the table of ops that computes several networks at once."""

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff.ensemble import EnsemblePerceptron
from tests.autodiff.cases import Case, normal, variants

ENSEMBLE: list[Case] = [
    *variants(
        "ensemble_linear",
        (EnsemblePerceptron,),
        normal,
        (
            "shared inputs",
            F.ensemble_linear,
            lambda x, w, b: np.stack([x @ w[k].T + b[k] for k in range(2)]),
            ((4, 3), (2, 5, 3), (2, 5)),
        ),
    ),
    *variants(
        "ensemble_perceptron",
        (EnsemblePerceptron,),
        normal,
        (
            "two layers",
            lambda x, *parameters: F.ensemble_perceptron(x, parameters, ["tanh", None]),
            lambda x, v, a, w, b: np.stack([np.tanh(x[k] @ v[k].T + a[k]) @ w[k].T + b[k] for k in range(2)]),
            ((2, 4, 3), (2, 5, 3), (2, 5), (2, 1, 5), (2, 1)),
        ),
        (
            "three layers on shared inputs",
            lambda x, *parameters: F.ensemble_perceptron(x, parameters, ["relu", None, "tanh"]),
            lambda x, v, a, w, b, u, c: np.stack(
                [np.tanh((np.maximum(x @ v[k].T + a[k], 0) @ w[k].T + b[k]) @ u[k].T + c[k]) for k in range(3)]
            ),
            ((4, 2), (3, 5, 2), (3, 5), (3, 2, 5), (3, 2), (3, 1, 2), (3, 1)),
            ((0, 2), (3, 5, 2), (3, 5), (3, 2, 5), (3, 2), (3, 1, 2), (3, 1)),
        ),
    ),
]
