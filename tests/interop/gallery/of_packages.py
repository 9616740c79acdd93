"""Architectures of other packages that people build models with: einops, x-transformers, monai, gpytorch."""

from __future__ import annotations

from types import MethodType
from typing import Any

from torch import nn

from .architecture import Table, floats, ints

TABLE = Table()
of = TABLE.of

MONAI: dict[str, Any] = {"trust": ("monai", "einops")}


# --- einops, x-transformers ----------------------------------------------------------------------------


@of(floats(2, 3, 8, 8), trust=("einops",))
def einops_layers() -> nn.Module:
    from einops.layers.torch import EinMix, Rearrange, Reduce

    return nn.Sequential(
        Rearrange("b c (h p) (w q) -> b (h w) (c p q)", p=4, q=4),
        EinMix("b n c -> b n d", weight_shape="c d", bias_shape="d", c=48, d=6),
        Reduce("b n d -> b d", "mean"),
        nn.Linear(6, 3),
    )


@of(ints(2, 6, below=20), trust=("x_transformers", "einops"))
def x_transformers_decoder() -> nn.Module:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=16, depth=2, heads=2, attn_dim_head=8, rotary_pos_emb=True, ff_glu=True, use_rmsnorm=True)
    return TransformerWrapper(num_tokens=20, max_seq_len=16, attn_layers=layers)


@of(floats(2, 6, 5), trust=("x_transformers", "einops"))
def x_transformers_encoder() -> nn.Module:
    from x_transformers import ContinuousTransformerWrapper, Encoder

    layers = Encoder(dim=16, depth=1, heads=2, attn_dim_head=8, alibi_pos_bias=True, macaron=True)
    return ContinuousTransformerWrapper(dim_in=5, dim_out=3, max_seq_len=16, attn_layers=layers)


# --- monai ---------------------------------------------------------------------------------------------


@of(floats(1, 1, 16, 16, 16), **MONAI)
def monai_unet() -> nn.Module:
    from monai.networks.nets import UNet

    return UNet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2), num_res_units=1, norm="batch", dropout=0.1)


@of(floats(1, 1, 16, 16), **MONAI)
def monai_attention_unet() -> nn.Module:
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(2, 1, 2, channels=(4, 8), strides=(2,))


@of(floats(1, 1, 16, 16), **MONAI)
def monai_segresnet() -> nn.Module:
    from monai.networks.nets import SegResNet

    return SegResNet(2, init_filters=8, in_channels=1, blocks_down=(1, 1), blocks_up=(1,), dropout_prob=0.1)


@of(floats(2, 1, 32, 32), **MONAI)
def monai_densenet() -> nn.Module:
    from monai.networks.nets import DenseNet

    return DenseNet(2, 1, 3, init_features=4, growth_rate=2, block_config=(1, 2), bn_size=2)


@of(floats(2, 1, 16, 16), **MONAI)
def monai_vit() -> nn.Module:
    from monai.networks.nets import ViT

    return ViT(1, 16, 8, hidden_size=8, mlp_dim=12, num_layers=1, num_heads=2, classification=True, spatial_dims=2)


@of(floats(1, 1, 16, 16), **MONAI)
def monai_vae() -> nn.Module:
    from monai.networks.nets import VarAutoEncoder

    return VarAutoEncoder(2, (1, 16, 16), 1, latent_size=3, channels=(4, 8), strides=(2, 2))


@of(floats(1, 1, 64, 64), **MONAI)
def monai_swin_unetr() -> nn.Module:
    from monai.networks.nets import SwinUNETR

    return SwinUNETR(1, 2, feature_size=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), spatial_dims=2)


# --- gpytorch ------------------------------------------------------------------------------------------


def accept_other_shapes(model: nn.Module) -> None:
    """What the constructor of gpytorch's modules does."""
    for module in model.modules():
        if isinstance(hook := getattr(module, "_load_state_hook_ignore_shapes", None), MethodType):
            module._register_load_state_dict_pre_hook(hook)


GPYTORCH: dict[str, Any] = {"trust": ("gpytorch",), "rehook": accept_other_shapes}


@of(floats(4, 2), **GPYTORCH)
def gpytorch_kernel() -> nn.Module:
    from gpytorch.constraints import Interval
    from gpytorch.kernels import MaternKernel, RBFKernel, ScaleKernel

    kernels = RBFKernel(ard_num_dims=2, lengthscale_constraint=Interval(0.1, 3.0)) + MaternKernel(nu=2.5)
    return ScaleKernel(kernels)  # type: ignore[no-any-return]


@of(floats(4, 2), **GPYTORCH)
def gpytorch_prior() -> nn.Module:
    from gpytorch.kernels import RBFKernel
    from gpytorch.priors import GammaPrior

    return RBFKernel(lengthscale_prior=GammaPrior(2.0, 0.15))  # type: ignore[no-any-return]


@of(floats(4, 2), **GPYTORCH)
def gpytorch_mean() -> nn.Module:
    from gpytorch.means import LinearMean

    return LinearMean(2)  # type: ignore[no-any-return]
