"""Networks of other kinds: generative, for graphs and points, for control, for physics."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn


class Autoencoder(nn.Module):
    """The decoder uses the encoder's weight, turned."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(6, 3)
        self.bias = nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.encoder(x).relu(), self.encoder.weight.mT, self.bias)


class VAE(nn.Module):
    def __init__(self, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 8), nn.ReLU(), nn.Linear(8, 6))
        self.register_buffer("prior_mean", torch.zeros(latent))
        self.register_buffer("prior_scale", torch.ones(latent))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, scale = self.encoder(x).chunk(2, -1)
        scale = F.softplus(scale)
        posterior = torch.distributions.Normal(mean, scale)
        z = posterior.rsample() if self.training else mean
        prior = torch.distributions.Normal(self.prior_mean, self.prior_scale)
        return {"made": self.decoder(z), "kl": torch.distributions.kl_divergence(posterior, prior)}


class VectorQuantizer(nn.Module):
    """A code book that moves by running averages, in buffers."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.register_buffer("codes", torch.randn(codes, width))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())
        self.decay = 0.9

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = self.project(x)
        chosen = torch.cdist(z, self.codes).argmin(-1)
        if self.training:
            hot = F.one_hot(chosen, len(self.codes)).to(z.dtype)
            self.count.lerp_(hot.sum(0), 1 - self.decay)
            self.sums.lerp_(hot.mT @ z.detach(), 1 - self.decay)
            self.codes = self.sums / self.count[:, None].clamp_min(0.1)
        return z + (self.codes[chosen] - z).detach(), chosen


class Coupling(nn.Module):
    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.net = nn.Sequential(nn.Linear(len(mask), 6), nn.Tanh(), nn.Linear(6, 2 * len(mask)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scale, shift = self.net(x * self.mask).chunk(2, -1)
        scale = scale.tanh() * ~self.mask
        return x * scale.exp() + shift * ~self.mask, scale.sum(-1)


class Flow(nn.Module):
    """RealNVP; its masks are one tensor and that tensor's complement."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        mask = torch.arange(width) % 2 == 0
        self.layers = nn.ModuleList(Coupling(mask if i % 2 else ~mask) for i in range(depth))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.zeros(len(x))
        for layer in self.layers:
            x, change = layer(x)
            total = total + change
        return x, total


class Diffusion(nn.Module):
    """A denoiser with its schedule in buffers of another dtype."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.time = nn.Embedding(steps, 6)
        self.net = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 6))
        self.register_buffer("alphas", torch.cumprod(1 - torch.linspace(0.01, 0.2, steps, dtype=torch.float64), 0))

    def forward(self, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        alpha = self.alphas[step].to(x.dtype)[:, None]
        noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * torch.randn_like(x)
        return self.net(noisy + self.time(step))


class GraphConv(nn.Module):
    def __init__(self, edges: list[tuple[int, int]], nodes: int) -> None:
        super().__init__()
        self.edges = edges
        adjacency = torch.eye(nodes)
        adjacency[tuple(zip(*edges, strict=True))] = 1.0
        self.register_buffer("adjacency", adjacency / adjacency.sum(1, keepdim=True))
        self.layers = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(self.adjacency @ x).relu()
        return x


class PointNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.align = nn.Parameter(torch.eye(3))
        self.each = nn.Sequential(nn.Conv1d(3, 8, 1), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 1))
        self.all = nn.Linear(8, 4)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.all(self.each(torch.einsum("bcn,cd->bdn", points, self.align)).amax(-1))


class Siamese(nn.Module):
    """One tower under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
        self.right = self.left
        self.similar = nn.CosineSimilarity(dim=-1, eps=1e-6)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self.similar(self.left(a), self.right(b))


class MomentumContrast(nn.Module):
    """A slow copy without gradients and a queue with a pointer."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.query = nn.Linear(4, 3)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(3, length), dim=0))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = F.normalize(self.query(x), dim=-1)
        if self.training:
            with torch.no_grad():
                for slow, fast in zip(self.key.parameters(), self.query.parameters(), strict=True):
                    slow.lerp_(fast, 0.01)
        k = F.normalize(self.key(x), dim=-1)
        scores = torch.cat([(q * k).sum(-1, keepdim=True), q @ self.queue.clone()], -1)
        if self.training:
            at = int(self.pointer)
            self.queue[:, at : at + len(k)] = k.mT
            self.pointer[0] = (at + len(k)) % self.queue.shape[1]
        return scores


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.GRUCell(4, 6)
        self.heads = nn.ModuleDict({"actor": nn.Linear(6, 3), "critic": nn.Linear(6, 1)})
        self.log_std = nn.Parameter(torch.zeros(3))
        nn.init.orthogonal_(self.heads["actor"].weight, gain=0.01)

    def forward(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.body(seen)
        mean = self.heads["actor"](h)
        action = mean + self.log_std.exp() * torch.randn_like(mean) if self.training else mean
        return action, self.heads["critic"](h)


class HyperNetwork(nn.Module):
    """Weights that another network makes."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.randn(2))
        self.maker = nn.Linear(2, 4 * 3 + 3)
        self.sizes = [4 * 3, 3]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.maker(self.code).split(self.sizes)
        return F.linear(x, weight.view(3, 4), bias)


class FourierOperator(nn.Module):
    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weights = nn.Parameter(torch.randn(width, width, modes, dtype=torch.cfloat) / width)
        self.local = nn.Conv1d(width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = torch.fft.rfft(x)[..., : self.modes]
        return F.gelu(self.local(x) + torch.fft.irfft(torch.einsum("bim,iom->bom", low, self.weights), x.shape[-1]))


class Sine(nn.Module):
    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.omega * x)

    def extra_repr(self) -> str:
        return f"omega={self.omega}"


class Field(nn.Module):
    """A field over space as in NeRF: frequencies in a buffer that is not persistent, sines after it."""

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.register_buffer("octaves", 2.0 ** torch.arange(octaves) * math.pi, persistent=False)
        self.net = nn.Sequential(nn.Linear(6 * octaves, 8), Sine(30.0), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = (x[..., None] * self.octaves).flatten(-2)
        return self.net(torch.cat([turned.sin(), turned.cos()], -1))


class Flowing(nn.Module):
    """A differential equation, by Runge and Kutta; the steps are a tuple of exact numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4))
        self.steps = (0.0, 0.1, 1e-1 + 0.2, 1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for start, end in zip(self.steps, self.steps[1:], strict=False):
            h = end - start
            a = self.slope(x)
            b = self.slope(x + h / 2 * a)
            c = self.slope(x + h / 2 * b)
            x = x + h / 6 * (a + 2 * b + 2 * c + self.slope(x + h * c))
        return x


class Ensemble(nn.Module):
    """Members in a list, in a dict, and one that is absent."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.Linear(4, 3) for _ in range(count))
        self.members.append(self.members[0])
        self.register_module("spare", None)
        self.weights = nn.ParameterList([torch.rand(()) for _ in range(count + 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(weight * member(x) for weight, member in zip(self.weights, self.members, strict=True))  # type: ignore[return-value]
