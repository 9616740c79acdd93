"""Distributions of torch, which a model keeps as its prior: by their state, as any object of torch's table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributions as d
from torch import nn

import torchkeep
from torchkeep.values.torch_table import OBJECTS

HALF = torch.tensor([0.5, 1.5])
PLAIN = "Beta Cauchy FisherSnedecor Gamma InverseGamma Kumaraswamy Laplace LogNormal LogisticNormal Normal Pareto"
PLAIN += " VonMises Weibull"
MADE: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: getattr(d, name)(HALF, HALF + 1) for name in PLAIN.split()},
    **{name: lambda name=name: getattr(d, name)(HALF) for name in ("Chi2", "Exponential", "Poisson", "StudentT")},
    **{name: lambda name=name: getattr(d, name)(HALF) for name in ("HalfCauchy", "HalfNormal", "Dirichlet")},
    **{name: lambda name=name: getattr(d, name)(logits=HALF) for name in ("Bernoulli", "Categorical", "Geometric")},
    "OneHotCategorical": lambda: d.OneHotCategorical(HALF),
    "OneHotCategoricalStraightThrough": lambda: d.OneHotCategoricalStraightThrough(HALF),
    "ContinuousBernoulli": lambda: d.ContinuousBernoulli(HALF / 2),
    "Binomial": lambda: d.Binomial(3, HALF / 2),
    "Multinomial": lambda: d.Multinomial(3, HALF),
    "NegativeBinomial": lambda: d.NegativeBinomial(3, HALF / 2),
    "Uniform": lambda: d.Uniform(HALF, HALF + 1, validate_args=False),
    "LKJCholesky": lambda: d.LKJCholesky(3),
    "MultivariateNormal": lambda: d.MultivariateNormal(HALF, torch.eye(2) * 2),
    "LowRankMultivariateNormal": lambda: d.LowRankMultivariateNormal(HALF, torch.ones(2, 1), HALF),
    "Wishart": lambda: d.Wishart(torch.tensor(3.0), torch.eye(2)),
    "RelaxedBernoulli": lambda: d.RelaxedBernoulli(torch.tensor(0.5), HALF / 2),
    "RelaxedOneHotCategorical": lambda: d.RelaxedOneHotCategorical(torch.tensor(0.5), HALF),
    "Independent": lambda: d.Independent(d.Normal(HALF, HALF), 1),
    "MixtureSameFamily": lambda: d.MixtureSameFamily(d.Categorical(HALF), d.Normal(HALF, HALF)),
    "TransformedDistribution": lambda: d.TransformedDistribution(
        d.Normal(HALF, HALF),
        [d.AffineTransform(1.0, 2.0), d.ComposeTransform([d.SigmoidTransform(), d.TanhTransform()])],
    ),
}


@pytest.mark.filterwarnings("ignore:Singular sample")
@pytest.mark.parametrize("name", MADE)
def test_it_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    made = MADE[name]()
    _ = made.event_shape, repr(made)
    model = nn.Linear(1, 1)
    model.prior = made
    torchkeep.save(model, tmp_path / "x.safetensors")
    loaded = torchkeep.load(tmp_path / "x.safetensors").prior
    assert type(loaded) is type(made)
    torch.manual_seed(0)
    sample = made.sample((3,))
    torch.manual_seed(0)
    assert torch.equal(loaded.sample((3,)), sample)
    assert torch.equal(loaded.log_prob(sample), made.log_prob(sample))
    assert repr(loaded) == repr(made)


def test_all_of_the_table_are_tried() -> None:
    names = {name.partition(":")[2] for name in OBJECTS if name.startswith("torch.distributions:")}
    transforms = {name for name in names if name.endswith("Transform")}
    assert names - transforms - {"GeneralizedPareto"} == MADE.keys()


@pytest.mark.parametrize(
    "make",
    [
        d.AbsTransform, d.ExpTransform, d.SoftplusTransform, d.LowerCholeskyTransform, d.PositiveDefiniteTransform,
        d.SoftmaxTransform, d.StickBreakingTransform, d.CorrCholeskyTransform, lambda: d.PowerTransform(2.0),
        lambda: d.ReshapeTransform((2,), (1, 2)), lambda: d.IndependentTransform(d.ExpTransform(), 1),
        lambda: d.StackTransform([d.ExpTransform()]), lambda: d.CatTransform([d.ExpTransform()]),
    ],
)  # fmt: skip
def test_a_transform(make: Callable[[], Any], tmp_path: Path) -> None:
    made = make()
    torchkeep.save([made], tmp_path / "x.safetensors")
    [loaded] = torchkeep.load(tmp_path / "x.safetensors")
    assert type(loaded) is type(made)
    x = torch.ones(1, 1) if isinstance(made, d.CorrCholeskyTransform | d.PositiveDefiniteTransform) else HALF[:1]
    if not isinstance(made, d.ReshapeTransform | d.LowerCholeskyTransform | d.PositiveDefiniteTransform):
        assert torch.equal(loaded(x), made(x))
