"""Checkpoints: a safetensors file of arrays, all else as JSON in its metadata; reading one runs nothing."""

from dbrrl.checkpoint.files import write as write
from dbrrl.checkpoint.format import FORMAT as FORMAT
from dbrrl.checkpoint.format import State as State
from dbrrl.checkpoint.format import borrowed as borrowed
from dbrrl.checkpoint.format import copied as copied
from dbrrl.checkpoint.format import decode as decode
from dbrrl.checkpoint.format import encode as encode
from dbrrl.checkpoint.format import lending as lending
from dbrrl.checkpoint.format import load as load
from dbrrl.checkpoint.format import same as same
from dbrrl.checkpoint.format import save as save
