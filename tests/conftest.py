"""What all tests share: one BLAS thread, also in the processes they start, and figures without a window."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
