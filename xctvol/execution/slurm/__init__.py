"""SLURM: what a site wants said, the job script, the run folder, and the queue.

Standard library only: a login node is kept busy for a moment, and left.
"""

from xctvol.execution.slurm.profile import FILE_NAME, TEMPLATE, Profile, find_profile
from xctvol.execution.slurm.runs import RunFolder, Submission, submit
from xctvol.execution.slurm.script import Command, batch_script

__all__ = [
    "FILE_NAME",
    "TEMPLATE",
    "Command",
    "Profile",
    "RunFolder",
    "Submission",
    "batch_script",
    "find_profile",
    "submit",
]
