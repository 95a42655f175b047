"""One session of a run that is killed by `test_generate`: a folder, a cache, a log of what was sent."""

import os
import sys
from pathlib import Path
from typing import Any

from engine_fakes import Plain

from evals import store
from evals.core import Completion, Record, Request, Sample
from evals.engine.cache import ResponseCache
from evals.engine.generate import Engine, run_until_done
from evals.models.fake import Fake


class Logged(Fake):
    """Writes down what it sends, before it does."""

    def __init__(self, log: Path) -> None:
        super().__init__(latency_s=0.03)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def generate(self, request: Request, mark: Any) -> Completion:
        text = request.messages[0].content
        os.write(self.log, f"{text}\n".encode())
        self.reply = f"answer of {text}"
        done = await super().generate(request, mark)
        return Completion(text=f"answer of {text}", finish_reason="stop", usage=done.usage)


def main(folder: Path, kind: str, n: int, workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    count = 3 if kind == "parts" else 1
    texts: list[Any] = [[f"{i}.{p}" for p in range(count)] for i in range(n)]
    asked = [Sample(id=f"d{i}", inputs={"text": t if count > 1 else t[0]}, target=None) for i, t in enumerate(texts)]
    with store.RunFolder(folder / "run") as run, ResponseCache(folder / "cache.sqlite", run="run") as cache:
        done = store.answered(run.path)

        def sink(sample: Sample, record: Record) -> None:
            run.append(record)

        engine = Engine(
            task=Plain(),
            model=Logged(folder / "sent.log"),
            sink=sink,
            concurrency=workers,
            skip=done.keys(),
            cache=cache,
        )
        print("up", flush=True)
        run_until_done(engine.run(asked))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
