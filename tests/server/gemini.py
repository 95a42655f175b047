"""Gemini's `:generateContent` and `:streamGenerateContent`, in the form in which litellm calls them: `{api_base}/models/{model}:...`.

No SDK of Google's is installed beside this server: the reply's fields are those that litellm 1.110.2 reads
(litellm/types/llms/vertex_ai.py: GenerateContentResponseBody, Candidates, UsageMetadata), the request's those of its
RequestBody and GenerationConfig in both spellings.
"""

import re
from collections.abc import Mapping
from typing import Any

from answers import pieces, tokens
from calls import Call, Refusal, Stream, document_id, flat, whole
from params import kind_of
from settings import dumps

_PATH = re.compile(r"models/([^/:]+):(\w+)$")
FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY", "refusal": "PROHIBITED_CONTENT"}
TOP = {
    "contents", "systeminstruction", "tools", "toolconfig", "safetysettings", "generationconfig", "cachedcontent", "labels",
    "servicetier", "store",
}  # fmt: skip
CONFIG = {
    "temperature", "topp", "topk", "candidatecount", "maxoutputtokens", "stopsequences", "presencepenalty", "frequencypenalty",
    "responsemimetype", "responseschema", "responsejsonschema", "responseformat", "seed", "responselogprobs", "logprobs",
    "responsemodalities", "imageconfig", "thinkingconfig", "mediaresolution", "speechconfig",
}  # fmt: skip
STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def plainly(name: str) -> str:
    """Both spellings, camelCase and snake_case, are accepted."""
    return name.replace("_", "").lower()


def folded(value: Any) -> dict[str, Any]:
    """An object by its names without regard to spelling."""
    return {plainly(name): inside for name, inside in value.items()} if isinstance(value, dict) else {}


class Gemini:
    """The dialect."""

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Call:
        """Understand a request, however odd."""
        found = _PATH.search(path)
        top = folded(body)
        config = folded(top.get("generationconfig"))
        document, prompt = "", tokens(flat((top.get("systeminstruction") or {}).get("parts")))
        for turn in top.get("contents") or []:
            said = flat(turn.get("parts")) if isinstance(turn, dict) else ""
            prompt += tokens(said)
            if isinstance(turn, dict) and turn.get("role", "user") == "user":
                document = said
        schema = config.get("responsejsonschema") or config.get("responseschema")
        return Call(
            path=path,
            model=found[1] if found else "",
            key=headers.get("X-Goog-Api-Key", ""),
            document=document,
            document_id=document_id(document),
            prompt_tokens=prompt,
            body=body,
            headers=headers,
            schema=schema if isinstance(schema, dict) else None,
            max_tokens=whole(config.get("maxoutputtokens")),
            stream=found is not None and found[2] == "streamGenerateContent",
        )

    def check(self, call: Call) -> Refusal | None:
        """Names of parameters, and that there are contents."""
        for name in call.body:
            if plainly(name) not in TOP:
                return self._unknown(name, "")
        top = folded(call.body)
        if not isinstance(top.get("contents"), list) or not top["contents"]:
            return Refusal(status=400, message="* GenerateContentRequest.contents: contents is not specified")
        config = top.get("generationconfig") or {}
        for name in config:
            if plainly(name) not in CONFIG:
                return self._unknown(name, " at 'generation_config'")
        temperature = config.get("temperature", 0)
        if kind_of(temperature) not in ("a decimal", "an integer"):
            message = f"Invalid value at 'generation_config.temperature' (TYPE_FLOAT), {temperature!r}"
            return Refusal(status=400, message=message)
        return None

    @staticmethod
    def _unknown(name: str, where: str) -> Refusal:
        message = f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
        return Refusal(status=400, message=message)

    def rules(self, call: Call) -> Refusal | None:
        """Key, model and what the document itself asks for."""
        if not call.key:
            return Refusal(status=403, message="Method doesn't allow unregistered callers.")
        if call.key.startswith("wrong"):
            return Refusal(
                status=400, message="API key not valid. Please pass a valid API key.", code="API_KEY_INVALID"
            )
        if call.model == "missing-model":
            return Refusal(status=404, message=f"models/{call.model} is not found for API version v1beta.")
        if call.model == "no-quota":
            return Refusal(
                status=429, message="You exceeded your current quota, please check your plan and billing details."
            )
        if "CONTEXT OVERFLOW" in call.document:
            message = f"The input token count ({call.prompt_tokens + 1048576}) exceeds the maximum number of tokens allowed (1048576)."
            return Refusal(status=400, message=message)
        return None

    def by_status(self, status: int) -> Refusal:
        """The usual body of a status."""
        return Refusal(status=status, message=STATUS.get(status, "UNKNOWN").replace("_", " ").capitalize() + ".")

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal as a body."""
        inside: dict[str, Any] = {
            "code": refusal.status,
            "message": refusal.message,
            "status": STATUS.get(refusal.status, "UNKNOWN"),
        }
        if refusal.code:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            inside["details"] = [{"@type": kind, "reason": refusal.code, "domain": "googleapis.com"}]
        return dumps({"error": inside})

    def error_events(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal inside a stream."""
        return b"data: " + self.error(refusal, request_id) + b"\r\n\r\n"

    def headers(self, call: Call | None, request_id: str, processing_ms: int) -> dict[str, str]:
        """The provider's headers on any reply."""
        return {"server-timing": f"gfet4t7; dur={processing_ms}"}

    def limit_headers(self, left: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
        """None are sent."""
        return {}

    def plain(self, call: Call) -> bytes:
        """The whole answer."""
        return dumps(self._body(call, call.text, FINISH[call.finish]))

    def events(self, call: Call, count: int) -> Stream:
        """The answer in deltas: the last one says why it ended."""
        deltas = [self._line(call, piece, None) for piece in pieces(call.text, count)]
        return Stream(
            b"", deltas, self._line(call, "", FINISH[call.finish]), self.error_events(self.by_status(503), "")
        )

    def _line(self, call: Call, text: str, finish: str | None) -> bytes:
        return b"data: " + dumps(self._body(call, text, finish)) + b"\r\n\r\n"

    def _body(self, call: Call, text: str, finish: str | None) -> dict[str, Any]:
        usage = {
            "promptTokenCount": call.prompt_tokens,
            "candidatesTokenCount": call.output_tokens - call.reasoning,
            "totalTokenCount": call.prompt_tokens + call.output_tokens,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": call.prompt_tokens}],
        }
        if call.cached:
            usage["cachedContentTokenCount"] = call.cached
        if call.reasoning:
            usage["thoughtsTokenCount"] = call.reasoning
        top = {"usageMetadata": usage, "modelVersion": call.served, "responseId": call.serial}
        if "FILTER ME" in call.document:
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}} | top
        candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        if finish is not None:
            candidate["finishReason"] = finish
        return {"candidates": [candidate]} | top
