"""One question to a remote backend, for every backend's contract: the answer or the failure, and the marks it left."""

import os
import traceback

from evals.core import Completion, Request
from evals.errors import CallFailed
from evals.models.base import Model


class Marks(list[str]):
    """The names of the marks, in order."""

    def __call__(self, name: str, offset_s: float | None = None) -> None:
        self.append(name)


async def asked(model: Model, what: Request) -> tuple[Completion | CallFailed, Marks]:
    """One answer, or the failure that came instead, which must not hold the planted key."""
    marks = Marks()
    await model.start()
    try:
        return await model.generate(what, marks), marks
    except CallFailed as error:
        assert os.environ["PLANTED_KEY"] not in "".join(traceback.format_exception(error))
        return error, marks
    finally:
        await model.close()
