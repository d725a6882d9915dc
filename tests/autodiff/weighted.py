"""The part of the table of ops that adds up the terms of a loss."""

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff import weighted
from tests.autodiff.cases import Case, normal, variants

WEIGHTED: list[Case] = [
    *variants(
        "weighted_sum",
        (weighted.WeightedSum,),
        normal,
        ("one", lambda a: F.weighted_sum((-2.5, a)), lambda a: -2.5 * a, ()),
        (
            "terms",
            lambda a, b, c: F.weighted_sum((-1.0, a), (0.5, b), (-0.01, c)),
            lambda a, b, c: -a + 0.5 * b - 0.01 * c,
            ((), (), ()),
        ),
        ("twice", lambda a: F.weighted_sum((2.0, a), (3.0, a)), lambda a: 5 * a, ()),
    ),
    *variants(
        "weighted_mean",
        (weighted.WeightedMean,),
        normal,
        ("even", F.weighted_mean, np.mean, (6,), (1,)),
        (
            "weights",
            lambda x: F.weighted_mean(x, np.array([0.5, 2.0, 0.0, 1.0])),
            lambda x: (0.5 * x[0] + 2 * x[1] + x[3]) / 4,
            (4,),
        ),
    ),
]
