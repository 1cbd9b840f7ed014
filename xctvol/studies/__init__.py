"""Study: how scores depend on the scans annotated and the epochs trained, by many trainings."""

from xctvol.studies.product import Study, Trial, Value, open_study
from xctvol.studies.stage import study

__all__ = ["Study", "Trial", "Value", "open_study", "study"]
