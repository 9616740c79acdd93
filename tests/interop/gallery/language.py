"""Networks for text and series."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class GPTConfig:
    vocabulary: int = 11
    context: int = 8
    width: int = 8
    heads: int = 2
    depth: int = 2
    dropout: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    notes: dict[str, list[str]] = field(default_factory=lambda: {"tied": ["lm_head", "wte"]})


class CausalAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.register_buffer("mask", torch.ones(config.context, config.context).tril().bool(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.config.heads, -1).permute(2, 0, 3, 1, 4)
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~self.mask[:t, :t], -torch.inf)
        scores = F.dropout(scores.softmax(-1), self.config.dropout, self.training)
        return self.out((scores @ v).transpose(1, 2).reshape(b, t, c))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attn = CausalAttention(config)
        self.mlp = nn.ModuleDict(
            {
                "fc": nn.Linear(config.width, 4 * config.width),
                "act": nn.GELU(),
                "proj": nn.Linear(4 * config.width, config.width),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp.proj(self.mlp.act(self.mlp.fc(self.ln_2(x))))


class GPT(nn.Module):
    """One config for all blocks, and one weight for the first layer and the last."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocabulary, config.width),
                "wpe": nn.Embedding(config.context, config.width),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList(Block(config) for _ in range(config.depth)),
            }
        )
        self.lm_head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts = self.transformer
        x = parts.drop(parts.wte(tokens) + parts.wpe(torch.arange(tokens.shape[1])))
        for block in parts.h:
            x = block(x)
        return self.lm_head(x)


class RotaryAttention(nn.Module):
    """Angles in a buffer that no state_dict holds, and a bias that was never given."""

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.register_parameter("bias", None)
        angles = torch.outer(torch.arange(length), 100.0 ** -torch.linspace(0, 1, width // 2))
        self.register_buffer("turn", torch.polar(torch.ones_like(angles), angles), persistent=False)
        self.register_buffer("cache", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = (torch.view_as_complex(each.unflatten(-1, (-1, 2))) * self.turn[: x.shape[1]] for each in (q, k))
        return (q @ k.mH).real.softmax(-1) @ v


class MixtureOfExperts(nn.Module):
    def __init__(self, width: int, experts: int, top: int) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 6), nn.SiLU(), nn.Linear(6, width)) for _ in range(experts)
        )
        self.top = top
        self.register_buffer("load", torch.zeros(experts, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights, chosen = self.router(x).softmax(-1).topk(self.top)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            row, place = torch.where(chosen == i)
            out = out.index_add(0, row, expert(x[row]) * weights[row, place, None])
            if self.training:
                self.load[i] += len(row)
        return out


class Seq2Seq(nn.Module):
    """An LSTM reads, another writes and looks back."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.reader = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * width, width)
        self.writer = nn.LSTMCell(width, width)
        self.score = nn.Bilinear(width, width, 1, bias=False)
        self.out = nn.Linear(2 * width, words)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        read = self.bridge(self.reader(self.words(source))[0])
        state = read.mean(1), torch.zeros_like(read[:, 0])
        said = []
        for word in target.T:
            state = self.writer(self.words(word), state)
            weights = self.score(state[0][:, None].expand_as(read).contiguous(), read).softmax(1)
            said.append(self.out(torch.cat([state[0], (weights * read).sum(1)], -1)))
        return torch.stack(said, 1)


class CausalConv(nn.Conv1d):
    """A torch layer that pads on the left."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(x, ((self.kernel_size[0] - 1) * self.dilation[0], 0)))


class WaveNet(nn.Module):
    def __init__(self, width: int, dilations: list[int]) -> None:
        super().__init__()
        self.gates = nn.ModuleList(CausalConv(width, 2 * width, 2, dilation=d) for d in dilations)
        self.skips = nn.ModuleList(nn.Conv1d(width, 3, 1) for _ in dilations)
        self.receptive_field = sum(dilations) + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = 0.0
        for gate, skip in zip(self.gates, self.skips, strict=True):
            a, b = gate(x).chunk(2, 1)
            x = x + a.tanh() * b.sigmoid()
            total = total + skip(x)
        return total  # type: ignore[return-value]


class TextCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding.from_pretrained(torch.randn(12, 6), freeze=True)
        self.convs = nn.ModuleDict({f"width {n}": nn.Conv1d(6, 4, n) for n in (2, 3)})
        self.drop = nn.Dropout(0.4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens).mT
        return self.drop(torch.cat([conv(x).relu().amax(-1) for conv in self.convs.values()], -1))


class StateSpace(nn.Module):
    """A diagonal state space, its poles complex."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.poles = nn.Parameter(torch.complex(-torch.rand(width, states), torch.randn(width, states)))
        self.read = nn.Parameter(torch.randn(width, states, dtype=torch.complex64))
        self.step = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        times = torch.arange(x.shape[-1])
        kernel = (self.read[..., None] * (self.poles[..., None] * self.step * times).exp()).sum(1).real
        n = 2 * x.shape[-1]
        return torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(kernel, n), n)[..., : x.shape[-1]]
