"""Where the real tables, latency records and contracts lie that nobody on the team wrote: beside the checkout, or where
`EVALS_REAL_DATA` says. They are in no repository of ours; a test that needs them is skipped where they are not."""

import os
from pathlib import Path

REAL_DATA = Path(os.environ.get("EVALS_REAL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
TABLES = REAL_DATA / "tables"
LLMPERF = REAL_DATA / "latency" / "llmperf"
