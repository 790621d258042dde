"""A folder of cases through one model: which cases there are, what is done of them, and doing the rest.

`plan_batch` looks, writes nothing and needs no torch; `run.run_batch` works. What was done is recorded in the output
folder (`record`), so that a batch that was stopped goes on where it was.
"""

from GANSynthesisLib.batch.cases import BatchCase, BatchError, find_batch_cases
from GANSynthesisLib.batch.plan import BatchPlan, plan_batch
from GANSynthesisLib.batch.record import BatchRecord, CaseRecord, read_record

__all__ = ["BatchCase", "BatchError", "BatchPlan", "BatchRecord", "CaseRecord", "find_batch_cases", "plan_batch",
           "read_record"]
