"""Plans: what a verb will read, write and hold in memory, known before anything is touched.

A heavy verb returns a `Plan`. Its stages are lists of blocks with one task; an executor runs the
task on every block that the journal does not know yet, and the plan's conclusion marks the
product finished, last of all. `Serial` is the reference executor: any other gives equal bytes.
"""

from xctvol.plan.file import FileProduct
from xctvol.plan.folder import FolderProduct, FolderRecord, finished_folder
from xctvol.plan.plan import Part, Plan, Product, read_recipe, refuse_own_input
from xctvol.plan.serial import Serial
from xctvol.plan.stage import (
    Executor,
    Listener,
    Progress,
    Run,
    Stage,
    Task,
    Usage,
    report,
    reporting,
    run_block,
)

__all__ = [
    "Executor",
    "FileProduct",
    "FolderProduct",
    "FolderRecord",
    "Listener",
    "Part",
    "Plan",
    "Product",
    "Progress",
    "Run",
    "Serial",
    "Stage",
    "Task",
    "Usage",
    "finished_folder",
    "read_recipe",
    "refuse_own_input",
    "report",
    "reporting",
    "run_block",
]
