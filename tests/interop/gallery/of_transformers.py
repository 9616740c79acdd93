"""Architectures of transformers, from configs of the smallest size: no hub is asked for anything."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from .architecture import Rehook, Table, floats, ints

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers is imported: nothing is fetched

TABLE = Table(trust=("transformers",))

TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
DECODER = TINY | {"num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
PICTURE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
}

TOKENS = ints(2, 6, below=40)


def add(
    label: str, model: str, config: str, sizes: dict[str, Any], *, rehook: Rehook | None = None, **kwargs: Any
) -> None:
    """A model of transformers by the names of its class and of its config's class."""

    def build() -> nn.Module:
        import transformers

        built = getattr(transformers, model)(getattr(transformers, config)(**sizes))
        assert isinstance(built, nn.Module)
        return built.train()

    TABLE.add(build, name=label, kwargs=kwargs, rehook=rehook)


def accept_older_names(model: Any) -> None:
    """What MambaModel's constructor does."""
    model.backbone._register_load_state_dict_pre_hook(model.backbone.load_hook)


def capture_outputs(model: Any) -> None:
    """What constructors note in their process, and the first call of a model that needs the outputs of its layers."""
    from transformers import PreTrainedModel
    from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY, install_all_output_capturing_hooks

    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            _CAN_RECORD_REGISTRY[module] = module._can_record_outputs
    install_all_output_capturing_hooks(model.segformer)


# --- text ----------------------------------------------------------------------------------------------

add("bert", "BertForSequenceClassification", "BertConfig", TINY, input_ids=TOKENS, labels=ints(2, below=2))
add("roberta", "RobertaForMaskedLM", "RobertaConfig", TINY, input_ids=TOKENS)
add(
    "distilbert",
    "DistilBertModel",
    "DistilBertConfig",
    {"vocab_size": 40, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 32},
    input_ids=TOKENS,
)
add("albert", "AlbertModel", "AlbertConfig", TINY | {"embedding_size": 8}, input_ids=TOKENS)
add("electra", "ElectraForPreTraining", "ElectraConfig", TINY | {"embedding_size": 8}, input_ids=TOKENS)
add(
    "deberta",
    "DebertaV2Model",
    "DebertaV2Config",
    TINY | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8},
    input_ids=TOKENS,
)
add(
    "gpt2",
    "GPT2LMHeadModel",
    "GPT2Config",
    {
        "vocab_size": 40,
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    input_ids=TOKENS,
)
add("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", TINY, input_ids=TOKENS)
add("llama", "LlamaForCausalLM", "LlamaConfig", DECODER | {"rope_theta": 100.0}, input_ids=TOKENS, labels=TOKENS)
add("mistral", "MistralForCausalLM", "MistralConfig", DECODER | {"sliding_window": 4}, input_ids=TOKENS)
add(
    "mixtral",
    "MixtralForCausalLM",
    "MixtralConfig",
    DECODER | {"num_local_experts": 3, "num_experts_per_tok": 2},
    input_ids=TOKENS,
)
add("qwen2", "Qwen2ForCausalLM", "Qwen2Config", DECODER, input_ids=TOKENS)
add("qwen3", "Qwen3ForCausalLM", "Qwen3Config", DECODER, input_ids=TOKENS)
add("gemma2", "Gemma2ForCausalLM", "Gemma2Config", DECODER | {"query_pre_attn_scalar": 8}, input_ids=TOKENS)
add("phi", "PhiForCausalLM", "PhiConfig", TINY | {"num_key_value_heads": 2}, input_ids=TOKENS)
add(
    "opt",
    "OPTForCausalLM",
    "OPTConfig",
    TINY | {"ffn_dim": 24, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    input_ids=TOKENS,
)
add(
    "bloom",
    "BloomForCausalLM",
    "BloomConfig",
    {"vocab_size": 40, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    input_ids=TOKENS,
)
add(
    "mamba",
    "MambaForCausalLM",
    "MambaConfig",
    {"vocab_size": 40, "hidden_size": 8, "state_size": 4, "num_hidden_layers": 2, "time_step_rank": 2},
    rehook=accept_older_names,
    input_ids=TOKENS,
)
add(
    "t5",
    "T5ForConditionalGeneration",
    "T5Config",
    {
        "vocab_size": 40,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 2,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    },
    input_ids=TOKENS,
    labels=TOKENS,
)
add(
    "t5_encoder",
    "T5EncoderModel",
    "T5Config",
    {"vocab_size": 40, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
    input_ids=TOKENS,
)
add(
    "bart",
    "BartForConditionalGeneration",
    "BartConfig",
    {
        "vocab_size": 40,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_position_embeddings": 32,
    },
    input_ids=TOKENS,
)

# --- pictures ------------------------------------------------------------------------------------------

add(
    "vit", "ViTForImageClassification", "ViTConfig", PICTURE, pixel_values=floats(2, 3, 16, 16), labels=ints(2, below=2)
)
add(
    "beit", "BeitModel", "BeitConfig", PICTURE | {"use_relative_position_bias": True}, pixel_values=floats(2, 3, 16, 16)
)
add(
    "swin",
    "SwinForImageClassification",
    "SwinConfig",
    {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 2},
    pixel_values=floats(2, 3, 16, 16),
)
add(
    "convnext",
    "ConvNextForImageClassification",
    "ConvNextConfig",
    {"hidden_sizes": [4, 6, 8, 8], "depths": [1, 1, 1, 1], "drop_path_rate": 0.2},
    pixel_values=floats(2, 3, 32, 32),
)
add(
    "resnet_of_transformers",
    "ResNetModel",
    "ResNetConfig",
    {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
    pixel_values=floats(2, 3, 16, 16),
)
add(
    "segformer",
    "SegformerForSemanticSegmentation",
    "SegformerConfig",
    {
        "hidden_sizes": [4, 8],
        "depths": [1, 1],
        "num_encoder_blocks": 2,
        "num_attention_heads": [1, 2],
        "sr_ratios": [2, 1],
        "patch_sizes": [3, 3],
        "strides": [2, 2],
        "mlp_ratios": [2, 2],
        "decoder_hidden_size": 8,
    },
    rehook=capture_outputs,
    pixel_values=floats(2, 3, 16, 16),
)

# --- sound, and several at once ------------------------------------------------------------------------

add(
    "wav2vec2",
    "Wav2Vec2Model",
    "Wav2Vec2Config",
    {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "conv_dim": [8, 8],
        "conv_stride": [4, 2],
        "conv_kernel": [8, 3],
        "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
    },
    input_values=floats(2, 160),
)
add(
    "whisper",
    "WhisperForConditionalGeneration",
    "WhisperConfig",
    {
        "vocab_size": 40,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
        "max_source_positions": 10,
        "max_target_positions": 16,
        "num_mel_bins": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 3,
    },
    input_features=floats(2, 8, 20),
    decoder_input_ids=TOKENS,
)
add(
    "clip",
    "CLIPModel",
    "CLIPConfig",
    {
        "text_config": TINY | {"eos_token_id": 2, "bos_token_id": 1, "pad_token_id": 0},
        "vision_config": PICTURE,
        "projection_dim": 8,
    },
    input_ids=TOKENS,
    pixel_values=floats(2, 3, 16, 16),
    attention_mask=lambda: torch.ones(2, 6, dtype=torch.long),
)
