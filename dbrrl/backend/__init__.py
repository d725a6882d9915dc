"""The machine under the arrays: NumPy or CuPy by device name, BLAS threads, and a record of the machine."""

from dbrrl.backend.allocator import keep_freed_memory as keep_freed_memory
from dbrrl.backend.arrays import array_module as array_module
from dbrrl.backend.arrays import device_name as device_name
from dbrrl.backend.arrays import machine_record as machine_record
from dbrrl.backend.arrays import module_on as module_on
from dbrrl.backend.arrays import parse_device as parse_device
from dbrrl.backend.arrays import recording as recording
from dbrrl.backend.arrays import require as require
from dbrrl.backend.arrays import to_device as to_device
from dbrrl.backend.arrays import to_device_of as to_device_of
from dbrrl.backend.arrays import to_numpy as to_numpy
from dbrrl.backend.capture import Direct as Direct
from dbrrl.backend.capture import capture as capture
from dbrrl.backend.counter_generator import CounterGenerator as CounterGenerator
from dbrrl.backend.precision import using_tf32 as using_tf32
from dbrrl.backend.replacements import add_kind as add_kind
from dbrrl.backend.replacements import load_kernels as load_kernels
from dbrrl.backend.replacements import replaceable as replaceable
from dbrrl.backend.replacements import replacement as replacement
from dbrrl.backend.replacements import replaces as replaces
from dbrrl.backend.scalar import DeviceScalar as DeviceScalar
from dbrrl.backend.threads import auto_blas_threads as auto_blas_threads
from dbrrl.backend.threads import blas_threads as blas_threads
from dbrrl.backend.threads import cpu_count as cpu_count
from dbrrl.backend.threads import set_blas_threads as set_blas_threads
from dbrrl.backend.threads import using_blas_threads as using_blas_threads

beside = to_device_of  # its former name
