"""`python -m evals`."""

import gc

gc.set_threshold(50_000, 20, 20)
"""Importing the SDKs makes objects by the hundred thousand, none of them garbage: looking through them is a sixth of the
time until the first request."""

from evals.cli import main  # noqa: E402

if __name__ == "__main__":  # worker processes import this module again
    raise SystemExit(main())
