"""Files that look like a model's configuration and are no language model that runs alone: what they are."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping

DRAFTS = ("draft_vocab_size", "eagle_config", "eagle_aux_hidden_state_layer_ids", "dflash_config", "medusa_num_heads",
          "medusa_num_layers", "speculators_model_type", "speculators_config", "transformer_layer_config")
"""Keys of heads that guess ahead for another model (EAGLE, Medusa, ...), with which they share weights."""

OTHERS: Mapping[str, str] = {
    "peft_type": "an adapter, to be added to the weights of base_model_name_or_path",
    "weight_map": "the index of weight files",
    "tokenizer_class": "a tokenizer's configuration",
    "added_tokens_decoder": "a tokenizer's configuration",
    "pre_tokenizer": "a tokenizer",
    "image_processor_type": "a preprocessor's configuration",
    "feature_extractor_type": "a preprocessor's configuration",
    "processor_class": "a preprocessor's configuration",
    "_class_name": "a part of a diffusion pipeline",
    "word_embedding_dimension": "the pooling of an embedding model",
    "quantization": "the quantization of the config.json beside it",
    "norm_eps": "the parameters of a checkpoint in its maker's own layout",
    "temperature": "a generation configuration",
    "do_sample": "a generation configuration",
    "_from_model_config": "a generation configuration",
    "eos_token_id": "a generation configuration",
}
"""Keys that tell what a file is that names neither a model_type nor a size."""

PARTS: Mapping[str, str] = {
    **dict.fromkeys(("Eagle", "Medusa", "Draft", "NextN", "MTP", "DFlash", "Speculator"), "a draft head"),
    **dict.fromkeys(("ForSequenceClassification", "Reward", "ForTokenClassification"), "a classifier or reward model"),
    **dict.fromkeys(("ForMaskedLM", "ForQuestionAnswering", "ForPreTraining"), "an encoder"),
    **dict.fromkeys(("ForRetrieval", "Embedding"), "an embedding model"),
}
"""Parts of an architecture's name, in any case, and what they mean."""


def other_than_a_language_model(values: Mapping[str, object]) -> str | None:
    """A line that names the key, its value and what the file is, where it is no language model's; else None."""
    found = {key: "a draft head, which shares weights with its target model" for key in DRAFTS if values.get(key)}
    if values.get("peft_type") or not {"model_type", "architectures", "hidden_size", "n_embd"} & {*values}:
        found |= {key: meaning for key, meaning in OTHERS.items() if key in values}
    if values.get("is_encoder_decoder") is True:
        found["is_encoder_decoder"] = "an encoder with a decoder"
    named = values.get("architectures")
    for name in named if isinstance(named, list) else ():
        if meaning := _architecture(str(name)):
            found["architectures"] = meaning
    for key, meaning in found.items():
        return f"{key} = {reprlib.repr(values[key])}: this is {meaning}, expected a language model's config.json"
    return None


def _architecture(name: str) -> str | None:
    for part, meaning in PARTS.items():
        if part.lower() in name.lower():
            return meaning
    headless = name.endswith("Model") and not name.endswith("LMHeadModel")
    return "a model without an output matrix: an embedding model or an encoder" if headless else None
