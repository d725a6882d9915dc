"""Lets the tests here name `fragile:Walk`, as a user names a class in the present folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
