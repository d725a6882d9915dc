"""The part of the table of ops that is the quantile Huber loss."""

import numpy as np

import dbrrl.functional as F
from dbrrl.autodiff import quantile
from dbrrl.autodiff.tensor import plain
from dbrrl.backend import to_device_of
from tests.autodiff.cases import Case, distinct, variants
from tests.autodiff.reference import quantile_huber

FRACTIONS = np.array([0.125, 0.375, 0.625, 0.875])
OF_EACH_ROW = np.random.default_rng(5).uniform(0, 1, (3, 4))

QUANTILE: list[Case] = [
    *variants(
        "quantile_huber_loss",
        (quantile.QuantileHuber,),
        distinct,
        (
            "midpoints",
            lambda a, b: F.quantile_huber_loss(a, b, FRACTIONS),
            lambda a, b: quantile_huber(a, b, FRACTIONS),
            ((3, 4), (3, 2)),
        ),
        (
            "of each row",
            lambda a, b: F.quantile_huber_loss(a, b, OF_EACH_ROW),
            lambda a, b: quantile_huber(a, b, OF_EACH_ROW),
            ((3, 4), (3, 5)),
        ),
    ),
    *variants(
        "quantile_huber_loss",
        (quantile.SortedQuantileHuber,),
        distinct,
        (
            "sorted",
            lambda a, b: quantile.SortedQuantileHuber(to_device_of(plain(a), OF_EACH_ROW))(a, b),
            lambda a, b: quantile_huber(a, b, OF_EACH_ROW),
            ((3, 4), (3, 5)),
        ),
    ),
]
