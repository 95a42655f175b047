"""Logs as other harnesses write them: lm-evaluation-harness (its writer's layout), promptfoo (its types)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PLANTED = "sk-planted-Zq81LmW0pXe7"
"""A key that stands in every log's configuration, and must reach no file of ours."""
DATE = "2026-11-25T10-00-00.123456"


def digest(text: str) -> str:
    """As lm-evaluation-harness hashes."""
    return hashlib.sha256(text.encode()).hexdigest()


def sample(i: int, values: dict[str, Any], *, filter: str = "none", text: str = "so 3", **more: Any) -> dict[str, Any]:
    """One line of a samples file, of a generating task."""
    line = {
        "doc_id": i,
        "doc": {"question": f"secret document {i}"},
        "target": str(i),
        "arguments": {"gen_args_0": {"arg_0": f"secret document {i}", "arg_1": {"until": ["\n"]}}},
        "resps": [[text]],
        "filtered_resps": [text],
        "filter": filter,
        "metrics": list(values),
        "doc_hash": digest(f"doc {i}"),
        "prompt_hash": digest(f"prompt {i}"),
        "target_hash": digest(str(i)),
    }
    return {**line, **values, **more}


def choice(i: int, values: dict[str, Any]) -> dict[str, Any]:
    """One line of a multiple-choice task: log-likelihood and greediness of each choice, as text."""
    replies = [["-0.5", "False"], ["-1.25", "True"]]
    return sample(i, values, resps=[[one] for one in replies], filtered_resps=replies)


def samples_file(
    folder: Path,
    lines: Sequence[dict[str, Any]],
    *,
    model: str = "org/m1",
    task: str = "gsm8k",
    higher: dict[str, bool] | None = None,
    results: bool = True,
    date: str = DATE,
    limit: float | None = None,
    seconds: float = 1795600000.5,
) -> Path:
    """A samples file, with its results file beside it, which says when it was made (`seconds` since 1970)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"samples_{task}_{date}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if results:
        config = {
            "task": task,
            "dataset_path": "openai/gsm8k",
            "dataset_name": "main",
            "doc_to_text": "Q: {{question}}",
        }
        value = {
            "results": {task: {"alias": task}},
            "configs": {task: config},
            "versions": {task: 3.0},
            "n-shot": {task: 5},
            "higher_is_better": {task: higher or {}},
            "config": {"model": "hf", "model_args": f"pretrained=x,api_key={PLANTED}", "limit": limit},
            "task_hashes": {task: digest("all")},
            "model_name": model,
            "model_source": "hf",
            "date": seconds,
            "lm_eval_version": "0.4.13",
        }
        (folder / f"results_{date}.json").write_text(json.dumps(value))
    return path


# promptfoo ----------------------------------------------------------------------------------------------------


def row(
    i: int, *, passed: bool = True, column: int = 0, provider: str = "openai:gpt-4o", **more: Any
) -> dict[str, Any]:
    """One result; `response` is merged, everything else replaced."""
    usage = {"total": 30, "prompt": 20, "completion": 10, "numRequests": 1}
    usage["completionDetails"] = {"reasoning": 4, "cacheReadInputTokens": 5}  # type: ignore[assignment]
    response = {
        "output": f"answer {i}",
        "cached": False,
        "cost": 0.002,
        "tokenUsage": usage,
        **more.pop("response", {}),
    }
    check = {"type": "contains", "value": "answer", "provider": {"config": {"apiKey": PLANTED}}}
    grading = {
        "pass": passed,
        "score": float(passed),
        "reason": "All assertions passed" if passed else "Expected output to contain",
        "componentResults": [{"pass": passed, "score": float(passed), "reason": "-", "assertion": check}],
    }
    found = {
        "id": f"r{column}-{i}",
        "promptIdx": column,
        "testIdx": i,
        "promptId": digest("p"),
        "provider": {"id": provider, "label": "", "config": {"apiKey": PLANTED}},
        "prompt": {"raw": f"secret document {i}", "label": "Answer: {{q}}"},
        "vars": {"q": f"secret document {i}", "sessionId": f"s{column}{i}"},
        "testCase": {"vars": {"q": f"secret document {i}"}, "assert": [check], "options": {}, "metadata": {}},
        "response": response,
        "success": passed,
        "score": float(passed),
        "failureReason": 0 if passed else 1,
        "latencyMs": 400 + i,
        "cost": response["cost"],
        "namedScores": {},
        "gradingResult": grading,
        "metadata": {"http": {"requestHeaders": {"authorization": f"Bearer {PLANTED}"}}},
        **({} if passed else {"error": "Expected output to contain"}),
    }
    return {**found, **more}


def failed(i: int, text: str = "API error: 429 Too Many Requests", **more: Any) -> dict[str, Any]:
    """A test whose provider gave no answer."""
    made = row(i, passed=False, error=text, failureReason=2, gradingResult=None, **more)
    return {**made, "response": {"error": text}, "cost": 0, "score": 0}


def promptfoo_file(path: Path, rows: Sequence[dict[str, Any]], *, version: int = 3, **more: Any) -> Path:
    """An output file with a key in its configuration."""
    config = {
        "description": "My suite",
        "providers": [{"id": "openai:gpt-4o", "config": {"apiKey": PLANTED, "headers": {"x-auth-token": PLANTED}}}],
        "env": {"OPENAI_API_KEY": PLANTED},
    }
    value = {
        "evalId": "eval-abc-2026-11-25T10:00:00",
        "results": {"version": version, "timestamp": "2026-11-25T10:00:00.000Z", "results": list(rows), "prompts": []},
        "config": config,
        "shareableUrl": None,
        "metadata": {"promptfooVersion": "0.121.11", "evaluationCreatedAt": "2026-11-25T09:59:00.000Z"},
        **more,
    }
    path.write_text(json.dumps(value, indent=1))
    return path


def spoilt(made: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A deep copy that `change` has been at."""
    copy: dict[str, Any] = json.loads(json.dumps(made))
    change(copy)
    return copy
