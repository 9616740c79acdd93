"""Networks for pictures, written as people write them."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    expansion: ClassVar[int] = 1

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, block: type[BasicBlock] = BasicBlock, widths: tuple[int, ...] = (4, 8)) -> None:
        super().__init__()
        self.stem = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, widths[0], 3, 1, 1), pool=nn.MaxPool2d(2)))
        self.inplanes = widths[0]
        for i, width in enumerate(widths):
            setattr(self, f"layer{i + 1}", self._layer(block, width, 1 + (i > 0)))
        self.layers = len(widths)
        self.head = nn.Linear(widths[-1] * block.expansion, 5)

    def _layer(self, block: type[BasicBlock], width: int, stride: int) -> nn.Sequential:
        first = block(self.inplanes, width, stride)
        self.inplanes = width
        return nn.Sequential(first, block(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for i in range(self.layers):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.head(x.mean((2, 3)))


class UNet(nn.Module):
    """Skips between two lists; the levels are turned round on the way up."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        pairs = list(zip([2, *widths], widths, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs[1:]))
        self.merge = nn.ModuleDict({str(a): nn.Conv2d(2 * a, a, 1) for a, _ in reversed(pairs[1:])})
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for i, conv in enumerate(self.down):
            x = F.silu(conv(F.max_pool2d(x, 2) if i else x))
            kept.append(x)
        kept.pop()
        for up, merge in zip(self.up, self.merge.values(), strict=True):
            x = merge(torch.cat([up(x), kept.pop()], 1))
        return self.out(x)


class DenseNet(nn.Module):
    def __init__(self, growth: int, count: int) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for i in range(count):
            width = 3 + i * growth
            self.features.add_module(f"norm.{i}".replace(".", ""), nn.BatchNorm2d(width))
            self.features.add_module(f"conv{i}", nn.Conv2d(width, growth, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers = dict(self.features.named_children())
        for i in range(len(layers) // 2):
            x = torch.cat([x, layers[f"conv{i}"](F.relu(layers[f"norm{i}"](x)))], 1)
        return x


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 2, 1), nn.SiLU(), nn.Conv2d(2, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x).sigmoid()


class MobileBlock(nn.Module):
    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        inner = 2 * width
        self.body = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner, eps=1e-3),
            nn.Hardswish(),
            nn.Conv2d(inner, inner, 5, padding=2, groups=inner, bias=False),
            SqueezeExcite(inner),
            nn.Conv2d(inner, width, 1, bias=False),
        )
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keep = torch.rand(len(x), 1, 1, 1) >= self.drop if self.training else 1.0
        return x + self.body(x) * keep


class Mixer(nn.Module):
    def __init__(self, patches: int, width: int, depth: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.tokens = nn.ModuleList(
            nn.Sequential(nn.Linear(patches, 6), nn.GELU(), nn.Linear(6, patches)) for _ in range(depth)
        )
        self.channels = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 6), nn.GELU(), nn.Linear(6, width)) for _ in range(depth)
        )
        self.norms = nn.ParameterList(nn.Parameter(torch.rand(width)) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).mT
        for tokens, channels, scale in zip(self.tokens, self.channels, self.norms, strict=True):
            x = x + tokens((x * scale).mT).mT
            x = x + channels(x)
        return x


class Unpooled(nn.Module):
    """Max pooling whose indices go past the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        self.decode = nn.ConvTranspose2d(4, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled, indices = self.pool(self.encode(x))
        return self.decode(self.unpool(pooled.relu(), indices))


class Generator(nn.Module):
    """Of a DCGAN, its weights drawn by `apply`."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(6, 4, 4, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(True),
            nn.ConvTranspose2d(4, 1, 4, 2, 1, bias=False),
            nn.Tanh(),
        )
        self.apply(self._draw)

    @staticmethod
    def _draw(module: nn.Module) -> None:
        if isinstance(module, nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.main(z)


class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
        self.where[1].weight.data.mul_(0.1)
        self.where[1].bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = F.affine_grid(self.where(x).view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class CRNN(nn.Module):
    """A picture of text, read from left to right."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d((4, 1)))
        self.rnn = nn.GRU(8, 5, bidirectional=True)
        self.head = nn.Linear(10, 7)
        self.loss = nn.CTCLoss(blank=0, zero_infinity=True)

    def forward(self, x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.cnn(x).flatten(1, 2).permute(2, 0, 1)
        scores = self.head(self.rnn(features)[0]).log_softmax(-1)
        lengths = torch.full((x.shape[0],), scores.shape[0]), torch.full((x.shape[0],), target.shape[1])
        return scores, self.loss(scores, target + 1, *lengths)
