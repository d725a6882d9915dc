"""The loops and reductions that the extension module has, by name."""

from typing import Any

from dbrrl.kernels.cpu import extension

native: Any = extension.module
LOOPS, REDUCTIONS = ({name: i for i, name in enumerate(names)} for names in native.program_names())
NAMES = {*LOOPS, *REDUCTIONS}
