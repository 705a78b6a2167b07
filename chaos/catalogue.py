"""All faults: each module enters its own into the catalogue when it is imported."""

from chaos import faults, load_faults, record_faults
from chaos.faults import CATALOGUE

__all__ = ["CATALOGUE", "faults", "load_faults", "record_faults"]
