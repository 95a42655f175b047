"""Makes tiny random models of many architectures, with a tokenizer of bytes, as folders that transformers loads."""

import functools
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
WINDOW = 6
"""Tokens that a sliding layer sees: far less than a prompt has."""
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048},
    "gpt_neox": {},
    "phi3": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "mistral": {"sliding_window": WINDOW},
    "gemma2": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "gemma3_text": {"sliding_window": WINDOW, "query_pre_attn_scalar": 8},
    "gpt_oss": {"sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mixtral": {"num_local_experts": 4},
    "cohere": {},
    "olmo2": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mamba": {"state_size": 4},
}


def tiny_folder(folder: Path, kind: str = "llama", *, template: str | None = TEMPLATE, **changes: Any) -> Path:
    """A folder with a random model of the architecture; the same every time."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **{**SIZES, **KINDS[kind], **changes})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # transformers begins so small that every token scores alike
            weight.add_(torch.randn_like(weight) * 0.15)
    model.save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_bytes(), bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@functools.cache
def _bytes() -> Any:
    """Every byte is a token; 256 to 259 are control tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: at for at, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = ("<s>", "<|im_end|>", "<pad>", "<|im_start|>")
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return made
