"""Gemini, Mistral, Bedrock, Azure and the long tail, through litellm. One attempt a call: the engine repeats.

litellm is told to keep to itself: no fetching of price lists, no `.env` file, no callbacks, no retries, no dropping of
parameters behind our back. It costs several milliseconds a call: what has a backend of its own here should use that.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from evals.core import Completion, Request
from evals.errors import CallFailed, ConfigError
from evals.models.base import Mark
from evals.models.litellm_reply import Answer, failed
from evals.models.remote import account, checked_drop, host_of, plain_url, require_key, secrets_of
from evals.models.wire_schema import Dialect, derive, schema_name

DIALECTS: dict[str, Dialect] = {
    **{"openai": "openai", "azure": "openai", "mistral": "openai", "anthropic": "anthropic"},
    **{"gemini": "gemini", "vertex_ai": "gemini", "vertex_ai_beta": "gemini"},
}
"""Of the schema, by litellm's name of the provider; Claude keeps its own wherever it is hosted; else `plain`."""
ROUNDABOUT = ("anthropic", "bedrock", "bedrock_converse", "databricks", "gemini", "groq", "vertex_ai", "zai")
"""Where litellm does not know that a model takes a schema, it asks these for a tool call or puts it into the prompt."""
PRETENDED = ("groq", "databricks")
"""Under a schema litellm asks these for the whole answer and cuts it up: such a stream would tell a false TTFT."""
OWN_LOGIN = ("bedrock", "bedrock_converse", "sagemaker", "sagemaker_chat", "vertex_ai", "vertex_ai_beta", "ollama")
"""Providers that can do without a key in the environment: a role, a file, a server of one's own."""
READ_BY_LITELLM = ("AWS_", "GOOGLE_APPLICATION_", "VERTEX")
"""Variables that are no API key: litellm takes them from the environment by itself."""
MAP = "model_prices_and_context_window_backup.json"
_RATES = {
    "input_usd_per_mtok": "input_cost_per_token",
    "cache_read_usd_per_mtok": "cache_read_input_token_cost",
    "cache_write_usd_per_mtok": "cache_creation_input_token_cost",
    "output_usd_per_mtok": "output_cost_per_token",
}
_ABOUT = {"context": "max_input_tokens", "max_output": "max_output_tokens", "ends": "deprecation_date"}
_SECRET = ("api_key", "access_key", "secret", "credential", "password", "session_token")
_SETTINGS = {
    # Read by litellm when it is imported: its own copy of the price list, no `.env`, nothing fetched, nothing printed.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_OFFLINE_MODE": "true",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
    "LITELLM_DROP_PARAMS": "False",
    # A model that repeats itself is an answer to be scored, not a failure of the server to be bought again.
    "REPEATED_STREAMING_CHUNK_LIMIT": "1000000000",
}


class LiteLLM:
    """A model that litellm reaches, named as litellm names it: `provider/model`."""

    def __init__(
        self,
        *,
        name: str,
        id: str,
        base_url: str | None = None,
        key_env: str | tuple[str, ...] | None = None,
        api_version: str | None = None,
        stream: bool = True,
        structured: Literal["json_schema", "json_object", "none"] = "json_schema",
        dialect: Dialect | None = None,
        drop: tuple[str, ...] = (),
        extra: dict[str, Any] = {},
        timeout_s: float = 3600.0,
    ) -> None:
        """`key_env`: one variable holds the key, several must all be set; `None`: those litellm knows the provider by.

        `extra`: further arguments of `litellm.acompletion`, such as `reasoning_effort`, `service_tier`,
        `aws_region_name`, `vertex_project`. Azure needs `base_url` and `api_version`. `timeout_s`: silence of the
        server; the engine's own limit of an attempt is far below.
        """
        self.name, self.id, self.stream, self.structured = name, id, stream, structured
        self.provider, _, model = id.partition("/")
        if not model:
            raise ConfigError(f"{name}: id={id}: litellm's names are provider/model, such as gemini/gemini-3.8-flash")
        self.base_url, self.api_version = plain_url(base_url, name), api_version
        if self.provider == "azure" and not (base_url and api_version):
            raise ConfigError(
                f"{name}: Azure needs model.base_url=https://RESOURCE.openai.azure.com and model.api_version"
            )
        self.keys = (key_env,) if isinstance(key_env, str) else tuple(key_env or ())
        if hidden := [key for key in extra if any(part in key.lower() for part in _SECRET)]:
            raise ConfigError(f"{name}: extra.{hidden[0]} would be written into the run's folder: use key_env")
        self.extra, self.timeout_s = dict(extra), timeout_s
        self.claude = "claude" in model
        self.dialect: Dialect = dialect or ("anthropic" if self.claude else DIALECTS.get(self.provider, "plain"))
        self.dropped = checked_drop(drop, ("max_tokens", "temperature", "seed"), name)
        self._secrets: tuple[str, ...] = ()
        self._fixed: dict[str, Any] = {}
        self._native = True
        self._litellm: Any = None

    @property
    def host(self) -> str:
        """Where requests go: a host, or the provider's name where litellm knows its hosts."""
        return host_of(self.base_url) if self.base_url else self.provider

    @property
    def account(self) -> str:
        """Whom rate limits are shared with."""
        return account(self.host, self.keys[0] if self.keys else None)

    async def start(self) -> Mapping[str, Any]:
        """Check the keys and load litellm; opens no connection."""
        values = [require_key(variable, self.name) for variable in self.keys]
        self._no_detour()
        litellm = load(self.name)
        self._check(litellm)
        self._secrets = secrets_of(*values, *_secret_values())
        self._fixed = {
            "model": self.id,
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": False,
            "timeout": self.timeout_s,
            **({"api_base": self.base_url} if self.base_url else {}),
            **({"api_version": self.api_version} if self.api_version else {}),
        }
        if len(values) == 1 and not self.keys[0].startswith(READ_BY_LITELLM):
            self._fixed["api_key"] = values[0]
        self._litellm = litellm
        self._native = self.provider not in ROUNDABOUT or bool(litellm.supports_response_schema(model=self.id))
        return {
            "backend": "litellm",
            "api": self.provider,
            "id": self.id,
            "base_url": self.base_url,
            "api_version": self.api_version,
            "stream": self.stream,
            "structured": self.structured,
            "dialect": self.dialect,
            "schema_native": self._native,
            "dropped": list(self.dropped),
            "extra": dict(self.extra),
            "client": {"sdk": f"litellm {version()}", "transport": "sdk", "http": "litellm's own"},
        }

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """Ask once."""
        if self._litellm is None:
            raise CallFailed("internal", f"{self.name} is not started")
        options, notes = self.options(request)
        streamed = self.stream and not ("response_format" in options and self.provider in PRETENDED)
        if streamed:
            options = {"stream": True, "stream_options": {"include_usage": True}} | options
        answer = Answer(provider=self.provider, claude=self.claude, streamed=streamed)
        mark("sent")
        try:
            reply = await self._litellm.acompletion(**self._fixed, **options)
            if streamed:
                await answer.listen(reply, mark)
            else:
                answer.whole(reply)
        except CallFailed:
            raise
        except Exception as error:
            raise failed(error, secrets=self._secrets, usage=answer.usage) from None
        mark("last")
        return answer.completion(notes)

    async def close(self) -> None:
        """Close the connections."""
        litellm, self._litellm = self._litellm, None
        if litellm is not None:
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()
            vars(litellm).pop("module_level_aclient", None)  # made anew when it is asked for; else it is never closed

    def options(self, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of one call, and the notes about what is not in them."""
        sent = {"max_tokens": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        options: dict[str, Any] = {key: value for key, value in sent.items() if key not in self.dropped}
        options["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
        notes: dict[str, Any] = {"dropped": list(self.dropped)}
        if request.schema is not None and request.constrain and self.structured != "none":
            options["response_format"] = {"type": self.structured}
            if self.structured == "json_schema":
                schema, lost = derive(request.schema, self.dialect)
                named = {"name": schema_name(request.schema), "schema": schema, "strict": self.dialect != "plain"}
                options["response_format"]["json_schema"] = named
                if not self._native:
                    notes["schema_as"] = "a tool call or a part of the prompt, by litellm"
                if lost:
                    notes["keywords_not_enforced"] = list(lost)
        return options | self.extra, notes

    def _no_detour(self) -> None:
        """Variables that would send the documents elsewhere, without a trace in the record, must not be set."""
        for suffix in ("_API_BASE", "_BASE_URL"):
            variable = self.provider.upper() + suffix
            if not self.base_url and (value := os.environ.get(variable)):
                plain_url(value, self.name)
                raise ConfigError(
                    f"{variable} is set and would redirect {self.name}: say model.base_url=..., or unset it"
                )

    def _check(self, litellm: Any) -> None:
        """Does litellm know the provider, and where its key is?"""
        try:
            litellm.get_llm_provider(model=self.id)
        except Exception:
            raise ConfigError(f"{self.name}: litellm {version()} knows no provider {self.provider}") from None
        if not self.keys and not self.base_url and self.provider not in OWN_LOGIN:
            missing = litellm.validate_environment(model=self.id)["missing_keys"]
            if missing:
                raise ConfigError(f"{missing[0]} is not set: model {self.name} needs it")
        if refused := self._refused(litellm):
            drop = ", ".join([*self.dropped, *refused])
            raise ConfigError(
                f"{self.name}: litellm {version()} says that {self.id} takes no {' and no '.join(refused)}: "
                f"say model.drop=[{drop}]"
            )

    def _refused(self, litellm: Any) -> list[str]:
        """Parameters that would be sent and that litellm would refuse, each call anew."""
        takes = litellm.get_supported_openai_params(model=self.id)
        if not takes:
            return []
        prices = litellm.model_cost
        about = prices.get(self.id) or prices.get(self.id.partition("/")[2]) or {}
        frozen = about.get("supports_sampling_params") is False
        wanted = [one for one in ("temperature", "seed") if one not in self.dropped]
        return [one for one in wanted if one not in takes or (one == "temperature" and frozen)]


def load(name: str) -> Any:
    """litellm, told to keep to itself."""
    os.environ.update(_SETTINGS)
    try:
        litellm: Any = importlib.import_module("litellm")
    except ImportError:
        raise ConfigError(
            f"model {name} needs litellm, which has an environment of its own: "
            "pip install -r requirements-litellm.lock, see README"
        ) from None
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = litellm.redact_messages_in_exceptions = True
    litellm.telemetry = litellm.drop_params = litellm.modify_params = False
    litellm.cache = litellm.num_retries = litellm.model_fallbacks = None
    for hooks in ("callbacks", "input_callback", "success_callback", "failure_callback", "service_callback"):
        setattr(litellm, hooks, [])
    import logging

    for logger in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(logger).setLevel(logging.CRITICAL + 1)
    for mend in (_no_queue, _no_end_that_was_not_told):
        with contextlib.suppress(ImportError, AttributeError):
            mend()
    return litellm


def _no_queue() -> None:
    """litellm's queue of callbacks works for nobody here, and outlives the event loop that it was begun in."""
    worker = importlib.import_module("litellm.litellm_core_utils.logging_worker").GLOBAL_LOGGING_WORKER
    worker.ensure_initialized_and_enqueue = lambda async_coroutine, **_: async_coroutine.close()


def _no_end_that_was_not_told() -> None:
    """A piece of a Gemini stream that says nothing of an end is `stop` to litellm: a stream that was cut looks whole."""
    module = importlib.import_module("litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini")
    if not hasattr(module.VertexGeminiConfig, "evals_told"):
        told = module.VertexGeminiConfig.evals_told = module.VertexGeminiConfig._check_finish_reason

        def check(message: Any, reason: str | None) -> str | None:
            found: str | None = told(message, reason)
            return None if found == "stop" and not reason else found

        module.VertexGeminiConfig._check_finish_reason = staticmethod(check)


def version() -> str:
    """litellm's."""
    from importlib import metadata

    return metadata.version("litellm")


def _secret_values() -> Sequence[str]:
    """Whatever the environment holds that may be a key: litellm reads some of it by itself."""
    ends = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")
    return [value for variable, value in os.environ.items() if variable.upper().endswith(ends) and len(value) >= 8]


def litellm_price(model: str) -> dict[str, Any] | None:
    """What litellm's own map says of a model, as it names it: a second opinion beside `genai-prices`.

    Read from the file of the installed package, without importing it. `None`: not installed, not in the map, or at $0,
    which is what litellm answers for a model it does not know.
    """
    import json
    from pathlib import Path

    found = importlib.util.find_spec("litellm")
    if found is None or not found.origin:
        return None
    try:
        entry = json.loads((Path(found.origin).parent / MAP).read_text(encoding="utf-8")).get(model)
    except (OSError, ValueError):
        return None
    rates = {name: entry.get(key) for name, key in _RATES.items()} if isinstance(entry, dict) else {}
    if not rates.get("input_usd_per_mtok") or not rates.get("output_usd_per_mtok"):
        return None
    about = {name: entry.get(key) for name, key in _ABOUT.items()}
    price = {name: None if rate is None else round(float(rate) * 1e6, 9) for name, rate in rates.items()}
    return price | about | {"source": f"litellm {version()}: {MAP}"}
