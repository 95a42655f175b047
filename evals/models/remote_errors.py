"""How providers say that one document is the cause, or that no call will ever succeed: their codes and words. Pure.

Codes are trusted first, since words change. Where each was read: openai and anthropic SDK types (`ResponseError.code`,
`error_code` of the error details), and the messages of vLLM, llama.cpp, llama-cpp-python, SGLang, TGI, Mistral,
Gemini, Bedrock, Azure and Anthropic as they stand in their sources or issue threads.
"""

import re
from collections.abc import Sequence

from evals.errors import CallErrorKind

FATAL: frozenset[str] = frozenset({"auth", "unknown_model", "bad_request"})
"""Kinds of which every further call would die too."""

_DOCUMENT_CODES: dict[str, CallErrorKind] = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",  # llama.cpp's server
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "responsibleaipolicyviolation": "content_filter",  # Azure
    "invalid_prompt": "content_filter",  # OpenAI: a prompt flagged under the usage policy
    "bio_policy": "content_filter",
    "misalignment_policy_violation": "content_filter",
    "data_inspection_failed": "content_filter",  # Alibaba
    "string_above_max_length": "too_large",
    "request_too_large": "too_large",
    "request_body_too_large_after_decoding": "too_large",
}
_FATAL_CODES: dict[str, CallErrorKind] = {
    "insufficient_quota": "auth",
    "billing_hard_limit_reached": "auth",
    "billing_not_active": "auth",
    "billing_error": "auth",
    "account_deactivated": "auth",
    "access_terminated": "auth",
    "organization_on_hold": "auth",
    "enforced_spend_limit_reached": "auth",
    "contract_spend_limit_reached": "auth",
    "linked_organization_spend_limit_reached": "auth",
    "linked_organization_billing_unavailable": "auth",
    "invalid_api_key": "auth",
    "api_key_invalid": "auth",
    "authentication_error": "auth",
    "permission_error": "auth",
    "model_not_found": "unknown_model",
    "deploymentnotfound": "unknown_model",
}
_EVENT_CODES: dict[str, CallErrorKind] = {
    # Judged only where there is no status: an error told inside a stream, a response or a batch.
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    "not_found_error": "unknown_model",
    "invalid_request_error": "bad_request",
}

_CONTEXT = re.compile(
    r"maximum context length|context (?:window|length|limit|size)s?\b.{0,80}exceed|exceed\w*\b.{0,80}\bcontext"
    r"|longer than the (?:maximum model length|model's context)|prompt is too long|prompt too long"
    r"|input (?:is|was) too long|input token count\b.{0,80}exceed|maximum number of tokens allowed"
    r"|reduce the length of the (?:messages|prompt|input)|`?inputs`? tokens \+ `?max_new_tokens`?"
)
_FILTER = re.compile(
    r"content management policy|content filter|usage policy|usage policies|flagged (?:as|for|by)|was flagged"
    r"|inappropriate content|data inspection"
)
_LARGE = re.compile(
    r"request (?:body |entity |payload )?(?:is )?too large|payload too large|request_too_large|string too long"
    r"|exceeds? the (?:maximum |)(?:allowed )?(?:request|payload|body) size"
)
_BAD_KEY = re.compile(r"(?:invalid|incorrect|expired|not valid|missing)\b.{0,30}\bapi.key|api.key\b.{0,30}not valid")
_NO_MONEY = re.compile(r"credit balance is too low|insufficient (?:balance|credits|funds)|purchase credits")


def document_cause(status: int | None, codes: Sequence[str], message: str) -> CallErrorKind | None:
    """`context_length`, `content_filter` or `too_large` where the reply blames this one document."""
    for code in codes:
        if code in _DOCUMENT_CODES:
            return _DOCUMENT_CODES[code]
    words = message[:1000].lower()
    if status == 429:
        # "Request too large for gpt-x on tokens per min": larger than the limit itself, no wait will cure it.
        return "too_large" if words.startswith("request too large") else None
    if status in (401, 404, 408) or (status is not None and status > 500):
        return None
    if _CONTEXT.search(words):
        return "context_length"
    if _FILTER.search(words):
        return "content_filter"
    return "too_large" if _LARGE.search(words) else None


def fatal_cause(status: int | None, codes: Sequence[str], message: str) -> CallErrorKind | None:
    """`auth` or `unknown_model` where codes or words say so and the status alone would not."""
    for code in codes:
        if code in _FATAL_CODES:
            return _FATAL_CODES[code]
    if status is None:
        return next((_EVENT_CODES[code] for code in codes if code in _EVENT_CODES), None)
    words = message[:1000].lower()
    if 400 <= status < 500 and status != 429 and (_BAD_KEY.search(words) or _NO_MONEY.search(words)):
        return "auth"
    return None
