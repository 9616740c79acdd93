"""Architectures of torch.nn alone: a file of one opens in a program that has imported nothing else."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrizations

from .architecture import Table, floats, ints

TABLE = Table()
of = TABLE.of


# --- layers --------------------------------------------------------------------------------------------


@of(floats(3, 4))
def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2, bias=False))


@of(floats(3, 4), floats(3, 5))
def bilinear() -> nn.Module:
    return nn.Bilinear(4, 5, 3)


@of(floats(2, 4, 9))
def conv_1d() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 6, 3, padding=2, dilation=2), nn.GELU(), nn.Conv1d(6, 2, 3, stride=2))


@of(floats(2, 4, 8, 8))
def conv_2d() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2, padding="same", padding_mode="reflect"),
        nn.SiLU(inplace=True),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8, bias=False),
    )


@of(floats(1, 2, 5, 6, 7))
def conv_3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(2, 3, 3, padding=1, padding_mode="circular"), nn.Mish())


@of(floats(2, 3, 8, 8))
def conv_channels_last() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@of(floats(2, 3, 7))
def transposed_1d() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose1d(3, 4, 3, stride=2, output_padding=1), nn.Tanh())


@of(floats(2, 3, 5, 5))
def transposed_2d() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, groups=1, dilation=2), nn.Sigmoid())


@of(floats(1, 2, 3, 4, 3))
def transposed_3d() -> nn.Module:
    return nn.Sequential(nn.ConvTranspose3d(2, 2, 2, bias=False), nn.ELU(0.5))


# --- norms ---------------------------------------------------------------------------------------------


@of(floats(5, 4))
def batch_norm() -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm1d(4),
        nn.BatchNorm1d(4, momentum=None),
        nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm1d(4, track_running_stats=False),
    )


@of(floats(2, 3, 4, 4))
def sync_batch_norm() -> nn.Module:
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    return converted.eval().requires_grad_(False)  # it trains on several GPUs only


@of(floats(2, 4, 3, 3, 3))
def batch_and_instance_norm_3d() -> nn.Module:
    return nn.Sequential(nn.BatchNorm3d(4), nn.InstanceNorm3d(4, affine=True, track_running_stats=True))


@of(floats(2, 6, 4, 4))
def instance_and_group_norm() -> nn.Module:
    return nn.Sequential(nn.InstanceNorm2d(6), nn.GroupNorm(3, 6), nn.GroupNorm(2, 6, affine=False))


@of(floats(2, 5, 6))
def layer_and_rms_norm() -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(6), nn.LayerNorm((5, 6), bias=False), nn.RMSNorm(6), nn.LayerNorm(6, elementwise_affine=False)
    )


@of(floats(2, 6, 4, 4))
def response_norms() -> nn.Module:
    return nn.Sequential(nn.Conv2d(6, 6, 1), nn.LocalResponseNorm(2), nn.CrossMapLRN2d(3, k=2.0))


# --- recurrent -----------------------------------------------------------------------------------------


@of(floats(5, 2, 3))
def rnn() -> nn.Module:
    return nn.RNN(3, 4, num_layers=2, nonlinearity="relu", bias=False)


@of(floats(2, 5, 3))
def lstm_bidirectional() -> nn.Module:
    return nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.3, batch_first=True)


@of(floats(5, 2, 3))
def lstm_projected() -> nn.Module:
    return nn.LSTM(3, 6, proj_size=2)


@of(floats(5, 2, 3), floats(2, 2, 4))
def gru_with_state() -> nn.Module:
    return nn.GRU(3, 4, bidirectional=True)


@of(floats(2, 3))
def lstm_cell() -> nn.Module:
    return nn.LSTMCell(3, 4)


@of(floats(2, 3))
def gru_cells() -> nn.Module:
    return nn.Sequential(nn.GRUCell(3, 4), nn.RNNCell(4, 5, nonlinearity="relu"), nn.GRUCell(5, 2, bias=False))


# --- attention -----------------------------------------------------------------------------------------


@of(floats(2, 5, 8), floats(2, 6, 4), floats(2, 6, 3))
def attention() -> nn.Module:
    return nn.MultiheadAttention(
        8, 2, dropout=0.1, kdim=4, vdim=3, add_bias_kv=True, add_zero_attn=True, batch_first=True
    )


@of(floats(2, 4, 8), floats(2, 3, 8))
def transformer() -> nn.Module:
    return nn.Transformer(8, 2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=12, batch_first=True)


@of(floats(2, 5, 8))
def transformer_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(8), enable_nested_tensor=False)


@of(floats(2, 4, 8), floats(2, 5, 8))
def transformer_decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(8, 4, 12, batch_first=True, bias=False, dropout=0.2)
    return nn.TransformerDecoder(layer, 2)


# --- lookup --------------------------------------------------------------------------------------------


@of(ints(3, 4, below=10))
def embedding() -> nn.Module:
    return nn.Sequential(nn.Embedding(10, 6, padding_idx=0, max_norm=1.0, scale_grad_by_freq=True), nn.Linear(6, 3))


@of(ints(3, 4, below=10))
def embedding_sparse() -> nn.Module:
    return nn.Embedding(10, 6, sparse=True)


@of(ints(9, below=10), lambda: torch.tensor([0, 2, 2, 7]))
def embedding_bag() -> nn.Module:
    return nn.EmbeddingBag(10, 4, mode="max", padding_idx=1)


@of(floats(4, 6), ints(4, below=20))
def adaptive_softmax() -> nn.Module:
    return nn.AdaptiveLogSoftmaxWithLoss(6, 20, cutoffs=[5, 10], div_value=2.0, head_bias=True)


@of(floats(4, 5), ints(4, below=5))
def weighted_loss() -> nn.Module:
    return nn.CrossEntropyLoss(weight=torch.rand(5), label_smoothing=0.1)


@of(floats(3, 4), floats(3, 4), floats(3, 4))
def triplet_loss() -> nn.Module:
    distance = nn.PairwiseDistance(p=1.0, keepdim=True)
    return nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=0.5, swap=True)


# --- without weights -----------------------------------------------------------------------------------


@of(floats(3, 6))
def activations() -> nn.Module:
    return nn.Sequential(
        nn.CELU(),
        nn.ELU(),
        nn.GELU("tanh"),
        nn.Hardshrink(0.01),
        nn.Hardsigmoid(),
        nn.Hardswish(),
        nn.Hardtanh(-2.0, 2.0),
        nn.LeakyReLU(0.2),
        nn.LogSigmoid(),
        nn.Mish(),
        nn.PReLU(6),
        nn.RReLU(),
        nn.ReLU6(),
        nn.SELU(),
        nn.Softplus(2.0),
        nn.Softsign(),
        nn.Tanhshrink(),
        nn.Linear(6, 6),
        nn.Threshold(-5.0, 0.5),
        nn.GLU(),
        nn.Softmin(dim=-1),
        nn.LogSoftmax(dim=-1),
    )


@of(floats(2, 4, 16, 16))
def pools() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.MaxPool2d(3, stride=1, padding=1, dilation=1),
        nn.AvgPool2d(2, stride=1, count_include_pad=False),
        nn.LPPool2d(2.0, 2, stride=1),
        nn.FractionalMaxPool2d(3, output_ratio=0.7),
        nn.AdaptiveMaxPool2d((5, None)),
        nn.AdaptiveAvgPool2d(2),
    )


@of(floats(2, 4, 4, 4))
def shapes() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 8, 1),
        nn.PixelShuffle(2),
        nn.ChannelShuffle(2),
        nn.ReflectionPad2d((1, 0, 1, 0)),
        nn.CircularPad2d(1),
        nn.ConstantPad2d(1, 0.5),
        nn.ReplicationPad2d(1),
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.PixelUnshuffle(2),
        nn.Unfold(2),
        nn.Unflatten(2, (15, -1)),
        nn.Flatten(1),
    )


@of(floats(2, 4, 6, 6))
def dropouts() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 4, 1),
        nn.Dropout2d(0.3),
        nn.AlphaDropout(0.1),
        nn.FeatureAlphaDropout(0.1),
        nn.Dropout(inplace=True),
    )


# --- the state of parameters ---------------------------------------------------------------------------


@of(floats(3, 4, dtype=torch.float64))
def double() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


@of(floats(3, 4, dtype=torch.bfloat16))
def bfloat16() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2)).bfloat16()


@of(floats(3, 4, dtype=torch.complex64))
def complex_numbers() -> nn.Module:
    return nn.Linear(4, 3, dtype=torch.complex64)


@of(floats(3, 4))
def frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model


@of(floats(3, 4))
def partly_in_eval() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[1].eval()
    return model


@of(ints(2, 5, below=9))
def tied_weights() -> nn.Module:
    model = nn.Sequential(nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 9, bias=False))
    model[2].weight = model[0].weight
    return model


@of(floats(3, 4))
def shared_modules() -> nn.Module:
    shared = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    return nn.Sequential(shared, nn.Linear(4, 4), shared, nn.Sequential(shared[0], nn.Dropout(0.2)))


@of(floats(3, 4))
def lazy_that_knows_its_shape() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Linear(5, 2))
    model(torch.randn(2, 4))
    return model


@of(floats(3, 4))
def empty_and_identity() -> nn.Module:
    return nn.Sequential(nn.Identity(), nn.Sequential(), nn.Linear(4, 2), nn.Sequential(nn.Sequential()))


# --- parametrized --------------------------------------------------------------------------------------


@of(floats(2, 3, 8))
def weight_norm() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Conv1d(3, 4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2))


@of(floats(3, 4))
def spectral_norm() -> nn.Module:
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 6), n_power_iterations=2), nn.Linear(6, 2))


@of(floats(3, 4))
def orthogonal() -> nn.Module:
    maps = ("matrix_exp", "cayley", "householder")
    return nn.Sequential(*(parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map=each) for each in maps))


@of(floats(5, 2, 3))
def weight_norm_of_a_gru() -> nn.Module:
    return parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0")
