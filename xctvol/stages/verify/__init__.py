"""verify: every shard of a volume is read again and compared with all there is to compare with."""

from xctvol.stages.verify.stage import repair, verify
from xctvol.stages.verify.verdict import Verdict

__all__ = ["Verdict", "repair", "verify"]
