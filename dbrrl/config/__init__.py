"""Settings as data: frozen dataclasses whose fields carry range and meaning, checked when they are made."""

from dbrrl.config.settings import Config as Config
from dbrrl.config.settings import Range as Range
from dbrrl.config.settings import Setting as Setting
from dbrrl.config.settings import setting as setting
from dbrrl.config.settings import settings as settings
