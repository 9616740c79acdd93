"""Architectures of classes of one's own: a program that loads one has imported its module, or trusts it."""

from __future__ import annotations

import torch
from torch import nn

from .architecture import Table, floats, ints

TABLE = Table(imports=("gallery.vision", "gallery.language", "gallery.methods"))
of = TABLE.of

TRUSTED = {"imports": (), "trust": ("gallery",)}


# --- pictures ------------------------------------------------------------------------------------------


@of(floats(2, 3, 8, 8))
def resnet() -> nn.Module:
    from .vision import ResNet

    return ResNet()


@of(floats(1, 2, 8, 8))
def unet() -> nn.Module:
    from .vision import UNet

    return UNet([4, 6, 8])


@of(floats(2, 3, 5, 5))
def densenet() -> nn.Module:
    from .vision import DenseNet

    return DenseNet(2, 3)


@of(floats(3, 4, 6, 6))
def mobilenet() -> nn.Module:
    from .vision import MobileBlock

    return nn.Sequential(MobileBlock(4, 0.0), MobileBlock(4, 0.5))


@of(floats(2, 3, 8, 8))
def mlp_mixer() -> nn.Module:
    from .vision import Mixer

    return Mixer(patches=4, width=5, depth=2)


@of(floats(2, 1, 6, 6))
def unpooled() -> nn.Module:
    from .vision import Unpooled

    return Unpooled()


@of(floats(3, 6, 1, 1))
def dcgan() -> nn.Module:
    from .vision import Generator

    return Generator()


@of(floats(2, 1, 8, 8))
def spatial_transformer() -> nn.Module:
    from .vision import SpatialTransformer

    return SpatialTransformer()


@of(floats(2, 1, 8, 9), ints(2, 3, below=6))
def crnn_with_ctc() -> nn.Module:
    from .vision import CRNN

    return CRNN()


# --- text and series -----------------------------------------------------------------------------------


@of(ints(2, 6, below=11))
def gpt() -> nn.Module:
    from .language import GPT, GPTConfig

    return GPT(GPTConfig())


@of(floats(2, 5, 8))
def rotary_attention() -> nn.Module:
    from .language import RotaryAttention

    return RotaryAttention(8, 16)


@of(floats(7, 4))
def mixture_of_experts() -> nn.Module:
    from .language import MixtureOfExperts

    return MixtureOfExperts(4, experts=3, top=2)


@of(ints(2, 5, below=9), ints(2, 4, below=9))
def seq2seq() -> nn.Module:
    from .language import Seq2Seq

    return Seq2Seq(9, 6)


@of(floats(2, 4, 10))
def wavenet() -> nn.Module:
    from .language import WaveNet

    return WaveNet(4, [1, 2, 4])


@of(ints(3, 7, below=12))
def text_cnn() -> nn.Module:
    from .language import TextCNN

    return TextCNN()


@of(floats(2, 3, 8))
def state_space() -> nn.Module:
    from .language import StateSpace

    return StateSpace(3, 4)


# --- other methods -------------------------------------------------------------------------------------


@of(floats(3, 6))
def autoencoder() -> nn.Module:
    from .methods import Autoencoder

    return Autoencoder()


@of(floats(3, 6))
def vae() -> nn.Module:
    from .methods import VAE

    return VAE(2)


@of(floats(5, 4))
def vector_quantizer() -> nn.Module:
    from .methods import VectorQuantizer

    return VectorQuantizer(6, 4)


@of(floats(3, 4))
def real_nvp() -> nn.Module:
    from .methods import Flow

    return Flow(4, 3)


@of(floats(3, 6), ints(3, below=10))
def diffusion() -> nn.Module:
    from .methods import Diffusion

    return Diffusion(10)


@of(floats(4, 3))
def graph_convolution() -> nn.Module:
    from .methods import GraphConv

    return GraphConv([(0, 1), (1, 2), (3, 0)], 4)


@of(floats(3, 3, 9))
def point_net() -> nn.Module:
    from .methods import PointNet

    return PointNet()


@of(floats(3, 4), floats(3, 4))
def siamese() -> nn.Module:
    from .methods import Siamese

    return Siamese()


@of(floats(2, 4))
def momentum_contrast() -> nn.Module:
    from .methods import MomentumContrast

    return MomentumContrast(6)


@of(floats(3, 4))
def actor_critic() -> nn.Module:
    from .methods import ActorCritic

    return ActorCritic()


@of(floats(3, 4))
def hyper_network() -> nn.Module:
    from .methods import HyperNetwork

    return HyperNetwork()


@of(floats(2, 3, 8))
def fourier_operator() -> nn.Module:
    from .methods import FourierOperator

    return FourierOperator(3, 4)


@of(floats(5, 3))
def neural_field() -> nn.Module:
    from .methods import Field

    return Field(3)


@of(floats(3, 4))
def neural_ode() -> nn.Module:
    from .methods import Flowing

    return Flowing()


@of(floats(3, 4))
def ensemble() -> nn.Module:
    from .methods import Ensemble

    return Ensemble(2)


# --- what modules hold besides layers ------------------------------------------------------------------


@of(floats(3, 4), **TRUSTED)
def configured() -> nn.Module:
    from .habits import Config, Configured, Inner, Shape

    return Configured(Config(4, Inner(0.5, Shape(3, 2))))


@of(floats(5, 4), **TRUSTED)
def collected() -> nn.Module:
    from .habits import Collected

    return Collected()


@of(floats(3, 4), **TRUSTED)
def parent_and_child() -> nn.Module:
    from .habits import Parent

    return Parent()


@of(floats(3, 4), **TRUSTED)
def extra_state() -> nn.Module:
    from .habits import Counting

    model = Counting()
    model(torch.ones(4))
    return model


@of(floats(3, 4), **TRUSTED)
def buffers() -> nn.Module:
    from .habits import Buffers

    return Buffers()


@of(floats(3, 4), **TRUSTED)
def slots() -> nn.Module:
    from .habits import Slotted

    return Slotted()


@of(floats(3, 4), **TRUSTED)
def generic_and_nested() -> nn.Module:
    from .habits import Nested

    return Nested(0.5)


@of(floats(3, 4), **TRUSTED)
def functions_as_attributes() -> nn.Module:
    from .habits import Switched

    return Switched()


@of(floats(3, 4), **TRUSTED)
def own_parametrizations() -> nn.Module:
    from .habits import symmetric

    return symmetric()


@of(floats(3, 4), **TRUSTED)
def lora() -> nn.Module:
    from .habits import LoRA

    return LoRA(nn.Linear(4, 5), 2)
