"""A stand-in for the core: `python -m rpat RUN_DIR` in milliseconds, without torch.

Everything but `__main__` is the real package, found through the extended path.
"""

import os
from pathlib import Path

__version__ = "stand-in"
__path__.append(os.environ.get("RPAT_REAL_CORE") or str(Path(__file__).parents[3] / "rpat"))
