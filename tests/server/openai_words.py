"""OpenAI's refusals, shared by chat, responses, files and batches.

The wording was read in public issue threads that quote it: unsupported max_tokens (sipeed/picoclaw#16), context length
(crewAIInc/crewAI-examples#121), response_format (moeru-ai/xsai#202). The words themselves bind nobody; status, type, param
and code are what clients act on.
"""

import math
from collections.abc import Mapping

from calls import Call, Refusal
from params import Problem
from settings import dumps

BY_STATUS = {
    408: ("Request timed out.", "timeout", None),
    413: ("Request body is too large.", "invalid_request_error", "request_too_large"),
    429: ("Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request. Sorry about that!", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
}


def by_status(status: int) -> Refusal:
    """The usual body of a status."""
    message, kind, code = BY_STATUS.get(
        status, (f"Status {status}.", "server_error" if status >= 500 else "error", None)
    )
    return Refusal(status=status, message=message, type=kind, code=code)


def error(refusal: Refusal) -> bytes:
    """The error object."""
    inside = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
    return dumps({"error": inside | refusal.more})


def said(problem: Problem) -> Refusal:
    """What a wrong parameter gets."""
    where = problem.path[0] + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in problem.path[1:])
    if problem.kind == "extra" and len(problem.path) == 1:
        return Refusal(status=400, message=f"Unrecognized request argument supplied: {where}")
    words = {
        "extra": (f"Unknown parameter: '{where}'.", "unknown_parameter"),
        "missing": (f"Missing required parameter: '{where}'.", "missing_required_parameter"),
        "value": (f"Invalid value: {problem.got}. Supported values are: {problem.expected}.", "invalid_value"),
        "type": (
            f"Invalid type for '{where}': expected {problem.expected}, but got {problem.got} instead.",
            "invalid_type",
        ),
    }
    message, code = words[problem.kind]
    return Refusal(status=400, message=message, param=where, code=code)


def headers(request_id: str, processing_ms: int) -> dict[str, str]:
    """On every reply."""
    return {
        "x-request-id": f"req_{request_id}",
        "openai-processing-ms": str(processing_ms),
        "openai-version": "2020-10-01",
    }


def limit_headers(left: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
    """What is left of requests and tokens."""
    found = {}
    for name, (size, rest, reset_s) in left.items():
        found[f"x-ratelimit-limit-{name}"] = str(size)
        found[f"x-ratelimit-remaining-{name}"] = str(rest)
        found[f"x-ratelimit-reset-{name}"] = f"{math.ceil(reset_s * 1000)}ms"
    return found


def key_of(headers: Mapping[str, str]) -> str:
    """What stands behind Bearer."""
    return headers.get("Authorization", "").removeprefix("Bearer ").strip()


def key_refusal(key: str) -> Refusal | None:
    """No key, or one that begins with `wrong`: its text is echoed, so that tests see whether a client passes it on."""
    if not key:
        return Refusal(status=401, message="You didn't provide an API key.")
    if key.startswith("wrong"):
        return Refusal(status=401, message=f"Incorrect API key provided: {key}.", code="invalid_api_key")
    if key.startswith("forbidden"):
        return Refusal(
            status=403,
            message="You are not allowed to use this.",
            type="permission_error",
            code="unsupported_country_region_territory",
        )
    return None


def model_refusal(model: str) -> Refusal | None:
    """Model names that are refused."""
    if model == "missing-model":
        message = f"The model `{model}` does not exist or you do not have access to it."
        return Refusal(status=404, message=message, code="model_not_found")
    if model == "no-quota":
        message = "You exceeded your current quota, please check your plan and billing details."
        return Refusal(status=429, message=message, type="insufficient_quota", code="insufficient_quota")
    return None


def document_refusal(call: Call, param: str) -> Refusal | None:
    """Documents that are refused by what stands in them."""
    if "CONTEXT OVERFLOW" in call.document:
        if param == "messages":
            message = (
                f"This model's maximum context length is 128000 tokens. However, your messages resulted in {call.prompt_tokens + 128000} "
                "tokens. Please reduce the length of the messages."
            )
        else:
            message = "Your input exceeds the context window of this model. Please adjust your input and try again."
        return Refusal(status=400, message=message, param=param, code="context_length_exceeded")
    if "FILTER ME" in call.document:
        message = "The response was filtered due to the prompt triggering the content management policy. Please modify your prompt and retry."
        return Refusal(status=400, message=message, param="prompt", code="content_filter")
    if "FLAG ME" in call.document:
        message = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
        return Refusal(status=400, message=message, code="invalid_prompt")
    if "TOO LARGE BODY" in call.document:
        return by_status(413)
    return None


def unsupported(name: str, instead: str | None = None) -> Refusal:
    """A parameter that the model does not take."""
    message = f"Unsupported parameter: '{name}' is not supported with this model." + (
        f" Use '{instead}' instead." if instead else ""
    )
    return Refusal(status=400, message=message, param=name, code="unsupported_parameter")
