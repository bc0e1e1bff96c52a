from __future__ import annotations

import os
import sys

# The helpers beside the tests are imported by their plain names.
sys.path.insert(0, os.path.dirname(__file__))
