"""The closed table: everything that a saved model may name from torch, listed one by one.

A name of torch that is not here is never resolved, whatever else the caller allows: `torch.hub.load`
inside a `partial` is a function of torch, too. Nothing is enumerated at run time, so a new release of
torch adds nothing by itself; names that an older release lacks are simply not found there.

What may stand here: plain modules, optimizers, and functions that compute on the tensors they are given.
What may not: anything that reads or writes files, reaches the network or other processes, compiles, runs
text, changes global or random state, views memory by raw strides, allocates by number alone, or (but for a
distance function that is itself a value) calls what it is handed.
"""

from __future__ import annotations

import enum
import functools
import sys
from collections.abc import Iterator
from typing import Any, Final

import torch
import torch.nn.functional
import torch.nn.init
import torch.nn.utils.parametrizations
import torch.nn.utils.prune
import torch.optim
import torch.optim.swa_utils

from ..document import Role


def _names(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}:{name}" for name in names.split())


MODULES: Final[tuple[str, ...]] = (
    # containers
    *_names("torch.nn", "Module Container Identity"),
    *_names("torch.nn", "Sequential ModuleList ModuleDict ParameterList ParameterDict"),
    # linear, sparse
    *_names("torch.nn", "Linear Bilinear Embedding EmbeddingBag"),
    *_names("torch.nn.modules.linear", "NonDynamicallyQuantizableLinear"),  # MultiheadAttention.out_proj
    # convolution
    *_names("torch.nn", "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Fold Unfold"),
    # what gets its shapes at the first call
    *_names(
        "torch.nn",
        """
        LazyLinear LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d
        LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d
        """,
    ),
    # recurrent
    *_names("torch.nn", "RNNBase RNN LSTM GRU RNNCellBase RNNCell LSTMCell GRUCell"),
    # transformer
    *_names(
        "torch.nn",
        """
        MultiheadAttention Transformer TransformerEncoder TransformerDecoder
        TransformerEncoderLayer TransformerDecoderLayer
        """,
    ),
    # activation
    *_names(
        "torch.nn",
        """
        CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish
        PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign
        Tanh Tanhshrink Threshold
        """,
    ),
    # normalization
    *_names(
        "torch.nn",
        """
        BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm InstanceNorm1d InstanceNorm2d InstanceNorm3d
        GroupNorm LayerNorm RMSNorm LocalResponseNorm CrossMapLRN2d
        """,
    ),
    # pooling
    *_names(
        "torch.nn",
        """
        AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d
        AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d FractionalMaxPool3d LPPool1d
        LPPool2d LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d
        """,
    ),
    # dropout
    *_names("torch.nn", "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout"),
    # shape
    *_names(
        "torch.nn",
        """
        ChannelShuffle Flatten PixelShuffle PixelUnshuffle Unflatten Upsample UpsamplingBilinear2d
        UpsamplingNearest2d CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d
        ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d
        ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d
        """,
    ),
    # distance, loss
    *_names(
        "torch.nn",
        """
        CosineSimilarity PairwiseDistance AdaptiveLogSoftmaxWithLoss BCELoss BCEWithLogitsLoss CTCLoss
        CosineEmbeddingLoss CrossEntropyLoss GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss
        LinearCrossEntropyLoss MSELoss MarginRankingLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss
        MultiMarginLoss NLLLoss NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss
        TripletMarginWithDistanceLoss
        """,
    ),
    # what stands for a tensor that others make up
    *_names("torch.nn.utils.parametrize", "ParametrizationList"),
    *_names("torch.nn.utils.parametrizations", "_WeightNorm _SpectralNorm _Orthogonal"),
    # a model's running average
    *_names("torch.optim.swa_utils", "AveragedModel"),
)

OBJECTS: Final[tuple[str, ...]] = (
    *_names(
        "torch.optim.lr_scheduler",
        """
        LRScheduler ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR
        ExponentialLR LambdaLR LinearLR MultiStepLR MultiplicativeLR OneCycleLR PolynomialLR ReduceLROnPlateau
        SequentialLR StepLR
        """,
    ),
    *_names("torch.optim.swa_utils", "SWALR"),
    *_names("torch.amp.grad_scaler", "GradScaler"),
    *_names("torch.cuda.amp.grad_scaler", "GradScaler"),
    *_names("torch.cpu.amp.grad_scaler", "GradScaler"),
    # what a model keeps as its prior
    *_names(
        "torch.distributions",
        """
        Bernoulli Beta Binomial Categorical Cauchy Chi2 ContinuousBernoulli Dirichlet Exponential FisherSnedecor Gamma
        GeneralizedPareto Geometric HalfCauchy HalfNormal Independent InverseGamma Kumaraswamy LKJCholesky
        Laplace LogNormal LogisticNormal LowRankMultivariateNormal MixtureSameFamily Multinomial MultivariateNormal
        NegativeBinomial Normal OneHotCategorical OneHotCategoricalStraightThrough Pareto Poisson RelaxedBernoulli
        RelaxedOneHotCategorical StudentT TransformedDistribution Uniform VonMises Weibull Wishart
        """,
    ),
    *_names("torch.distributions.relaxed_bernoulli", "LogitRelaxedBernoulli"),
    *_names("torch.distributions.relaxed_categorical", "ExpRelaxedCategorical"),
    *_names(
        "torch.distributions",
        """
        AbsTransform AffineTransform CatTransform ComposeTransform CorrCholeskyTransform ExpTransform
        IndependentTransform LowerCholeskyTransform PositiveDefiniteTransform PowerTransform ReshapeTransform
        SigmoidTransform SoftmaxTransform SoftplusTransform StackTransform StickBreakingTransform TanhTransform
        """,
    ),
)
"""Plain objects: their state is written back, and no constructor runs."""

OPTIMIZERS: Final[tuple[str, ...]] = _names(
    "torch.optim",
    """
    Optimizer ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD
    SparseAdam
    """,
)

PRUNING_METHODS: Final[tuple[str, ...]] = _names(
    "torch.nn.utils.prune",
    "Identity RandomUnstructured L1Unstructured RandomStructured LnStructured CustomFromMask",
)

DERIVED: Final[tuple[str, ...]] = _names("torch.torch_version", "TorchVersion")
"""Classes that derive from a builtin: ``torch.__version__`` is a string that compares as a version."""

NAMEDTUPLES: Final[tuple[str, ...]] = (
    *_names("torch.nn.utils.rnn", "PackedSequence"),
    # what functions return
    *_names(
        "torch.return_types",
        """
        aminmax aminmax_out cummax cummax_out cummin cummin_out frexp frexp_out geqrf geqrf_out histogram
        histogram_out histogramdd kthvalue kthvalue_out linalg_cholesky_ex linalg_cholesky_ex_out linalg_eig
        linalg_eig_out linalg_eigh linalg_eigh_out linalg_inv_ex linalg_inv_ex_out linalg_ldl_factor
        linalg_ldl_factor_ex linalg_ldl_factor_ex_out linalg_ldl_factor_out linalg_lstsq linalg_lstsq_out
        linalg_lu linalg_lu_factor linalg_lu_factor_ex linalg_lu_factor_ex_out linalg_lu_factor_out
        linalg_lu_out linalg_qr linalg_qr_out linalg_slogdet linalg_slogdet_out linalg_solve_ex
        linalg_solve_ex_out linalg_svd linalg_svd_out lu_unpack lu_unpack_out max max_out median median_out
        min min_out mode mode_out nanmedian nanmedian_out qr qr_out slogdet slogdet_out sort sort_out svd
        svd_out topk topk_out triangular_solve triangular_solve_out
        """,
    ),
)

ENUMS: Final[tuple[str, ...]] = _names("torch.nn.utils.parametrizations", "_OrthMaps")

FUNCTIONS: Final[tuple[str, ...]] = (
    # activation; the in-place ones write only the tensor that they are given
    *_names(
        "torch.nn.functional",
        """
        celu celu_ elu elu_ gelu glu gumbel_softmax hardshrink hardsigmoid hardswish hardtanh hardtanh_
        leaky_relu leaky_relu_ log_softmax logsigmoid mish prelu relu relu6 relu_ rrelu rrelu_ selu selu_
        sigmoid silu softmax softmin softplus softshrink softsign tanh tanhshrink threshold threshold_
        """,
    ),
    # linear, convolution, attention
    *_names(
        "torch.nn.functional",
        """
        bilinear conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d embedding
        embedding_bag fold linear multi_head_attention_forward one_hot scaled_dot_product_attention unfold
        """,
    ),
    # normalization, dropout
    *_names(
        "torch.nn.functional",
        """
        alpha_dropout batch_norm dropout dropout1d dropout2d dropout3d feature_alpha_dropout group_norm
        instance_norm layer_norm local_response_norm normalize rms_norm
        """,
    ),
    # pooling
    *_names(
        "torch.nn.functional",
        """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
        adaptive_max_pool3d adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
        adaptive_max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d fractional_max_pool2d
        fractional_max_pool3d fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices lp_pool1d
        lp_pool2d lp_pool3d max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d
        """,
    ),
    # shape
    *_names(
        "torch.nn.functional",
        """
        affine_grid channel_shuffle grid_sample interpolate native_channel_shuffle pad pixel_shuffle
        pixel_unshuffle upsample upsample_bilinear upsample_nearest
        """,
    ),
    # distance, loss
    *_names(
        "torch.nn.functional",
        """
        binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cosine_similarity
        cross_entropy ctc_loss gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss
        linear_cross_entropy margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
        multilabel_soft_margin_loss nll_loss pairwise_distance pdist poisson_nll_loss smooth_l1_loss
        soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss
        """,
    ),
    # torch's own spelling of activations
    *_names(
        "torch",
        """
        celu hardshrink log_softmax prelu relu relu_ rrelu selu selu_ sigmoid sigmoid_ softmax tanh tanh_
        threshold
        """,
    ),
    # elementwise, one tensor
    *_names(
        "torch",
        """
        abs absolute acos acosh angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh
        bitwise_not ceil clone conj conj_physical cos cosh deg2rad detach digamma erf erfc erfinv exp exp2
        expm1 fix floor frac i0 imag isfinite isinf isnan isneginf isposinf isreal lgamma log log10 log1p
        log2 logical_not logit mvlgamma nan_to_num neg negative polygamma positive rad2deg real reciprocal
        resolve_conj resolve_neg round rsqrt sgn sign signbit sin sinc sinh sqrt square tan trunc
        """,
    ),
    # elementwise, two tensors and more
    *_names(
        "torch",
        """
        add addcdiv addcmul arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift
        bitwise_xor clamp clamp_max clamp_min clip complex copysign div divide eq float_power floor_divide
        fmax fmin fmod gcd ge greater greater_equal gt heaviside hypot igamma igammac isclose lcm ldexp le
        lerp less less_equal logaddexp logaddexp2 logical_and logical_or logical_xor lt masked_fill maximum
        minimum mul multiply ne nextafter not_equal polar pow remainder sub subtract true_divide where xlogy
        """,
    ),
    # reduction, order, running totals
    *_names(
        "torch",
        """
        all allclose amax amin aminmax any argmax argmin argsort corrcoef count_nonzero cov cummax cummin
        cumprod cumsum cumulative_trapezoid diff equal kthvalue logcumsumexp logsumexp max mean median min
        mode msort nanmean nanmedian nanquantile nansum norm prod quantile sort std std_mean sum topk
        trapezoid trapz unique_consecutive var var_mean
        """,
    ),
    # products and matrices
    *_names(
        "torch",
        """
        addbmm addmm addmv addr baddbmm bmm cdist chain_matmul cholesky_inverse cross det dist dot einsum
        ger inner inverse kron logdet matmul matrix_exp matrix_power mm mv outer pinverse slogdet tensordot
        trace vdot
        """,
    ),
    # shape, selection; every index is checked against the tensor
    *_names(
        "torch",
        """
        adjoint atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cartesian_prod cat
        chunk column_stack combinations concat concatenate diag diag_embed diagflat diagonal
        diagonal_scatter dsplit dstack flatten flip fliplr flipud gather hsplit hstack index_select
        masked_scatter masked_select meshgrid moveaxis movedim narrow nonzero permute ravel repeat_interleave
        reshape roll rot90 row_stack scatter scatter_add select select_scatter slice_scatter split squeeze
        stack swapaxes swapdims t take take_along_dim tensor_split tile transpose tril triu unbind unflatten
        unsqueeze view_as_complex view_as_real vsplit vstack
        """,
    ),
    *_names("torch", "ones_like zeros_like"),
    # what schedulers and scalers keep of their own: numbers in, numbers out
    *_names("torch.optim.lr_scheduler", "CyclicLR._triangular_scale_fn CyclicLR._triangular2_scale_fn"),
    *_names("torch.optim.lr_scheduler", "CyclicLR._exp_range_scale_fn"),
    *_names("torch.optim.swa_utils", "SWALR._cosine_anneal SWALR._linear_anneal"),
    *_names("torch.amp.grad_scaler", "_refresh_per_optimizer_state"),
    # initialization, held as `init_fn`: writes only the tensor that it is given
    *_names(
        "torch.nn.init",
        """
        calculate_gain constant_ dirac_ eye_ kaiming_normal_ kaiming_uniform_ normal_ ones_ orthogonal_
        sparse_ trunc_normal_ uniform_ xavier_normal_ xavier_uniform_ zeros_
        """,
    ),
)

_PACKAGES: Final = frozenset({"torch", "torchgen", "functorch"})

_CODE_CARRIERS: Final[tuple[str, ...]] = (
    *_names("torch.fx", "GraphModule Graph Interpreter"),
    *_names("torch.jit", "ScriptModule RecursiveScriptModule ScriptFunction"),
    *_names("torch.jit", "TracedModule TopLevelTracedModule"),
    *_names("torch._C", "ScriptModule ScriptFunction ScriptObject LiteScriptModule"),
    *_names("torch.jit.mobile", "LiteScriptModule"),
    *_names("torch.fx.graph_module", "_CodeOnlyModule"),
    *_names("torch.fx.passes.utils.common", "HolderModule"),
    *_names("torch.export", "ExportedProgram"),
    *_names("torch.export.unflatten", "InterpreterModule InterpreterModuleDispatcher UnflattenedModule"),
    *_names("torch._export.utils", "_WrappedMethod"),
    *_names("torch._dynamo.eval_frame", "OptimizedModule"),
    *_names("torch._dynamo.output_graph", "FakeRootModule"),
    *_names("torch._dynamo.utils", "GmWrapper"),
    *_names("torch._functorch.make_functional", "FunctionalModule FunctionalModuleWithBuffers"),
    *_names("torch.distributed.nn.api.remote_module", "_RemoteModule RemoteModule"),
    *_names("torch.onnx", "ExportableModule"),
)


def name_of(obj: object) -> str | None:
    """The table's name of a class or function, by identity; the first listed where two name one object."""
    found = _by_identity().get(id(obj))
    return found[0] if found is not None else None


def lookup(name: str, role: Role) -> Any | None:
    """The class or function that the table lists under `name` in this role, else None."""
    return _table().get(role, {}).get(name)


def is_torch(name: str) -> bool:
    """Whether a `module:qualname` is torch's or a companion's: it opens through the table or not at all."""
    return name.partition(":")[0].partition(".")[0] in _PACKAGES


def is_base(cls: type) -> bool:
    """Whether a class of the table is this one, or derives from it and thereby does as it does."""
    return id(cls) in _bases()


def code_carriers() -> tuple[type, ...]:
    """The loaded classes whose instances carry code: graphs, scripts, compiled and remote modules.

    A module that nobody imported has no instances, so asking imports nothing.
    """
    found = (_resolve(name) for name in _CODE_CARRIERS)
    return tuple(dict.fromkeys(carrier for carrier in found if isinstance(carrier, type)))


def is_code_carrier(cls: type) -> bool:
    """Whether a class, or any class that it inherits from, carries code."""
    carriers = code_carriers()
    return any(base is carrier for base in cls.__mro__ for carrier in carriers)


@functools.cache
def _table() -> dict[Role, dict[str, Any]]:
    """What the table's names are on this torch, found once; absent names are left out."""
    return {
        "module": dict(_classes(MODULES, torch.nn.Module)),
        "optimizer": dict(_classes(OPTIMIZERS, torch.optim.Optimizer)),
        "object": dict(_classes(OBJECTS, object)),
        "pruning_method": dict(_classes(PRUNING_METHODS, torch.nn.utils.prune.BasePruningMethod)),
        "derived": dict(_classes(DERIVED, str)),
        "namedtuple": dict(_classes(NAMEDTUPLES, tuple)),
        "enum": dict(_classes(ENUMS, enum.Enum)),
        "function": dict(_functions(FUNCTIONS)),
    }


@functools.cache
def _by_identity() -> dict[int, tuple[str, object]]:
    """Each object of the table by `id`, held so that no `id` is ever reused."""
    found: dict[int, tuple[str, object]] = {}
    for part in _table().values():
        for name, obj in part.items():
            found.setdefault(id(obj), (name, obj))
    return found


@functools.cache
def _bases() -> frozenset[int]:
    """The table's modules and optimizers, and all that these derive from, by `id`; all are held by the table."""
    classes = (*_table()["module"].values(), *_table()["optimizer"].values())
    return frozenset(id(base) for cls in classes for base in cls.__mro__)


# A library that replaces `torch.nn.Linear` or `F.linear` with its own is not torch: both checks below
# look at where the object was made, and what was put in its place is not found under the name.


def _classes(names: tuple[str, ...], root: type) -> Iterator[tuple[str, type]]:
    for name in names:
        found = _resolve(name)
        if isinstance(found, type) and issubclass(found, root) and is_torch(found.__module__):
            yield name, found


def _functions(names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in names:
        found = _resolve(name)
        made_in = str(getattr(found, "__module__", ""))
        if callable(found) and not isinstance(found, type) and is_torch(made_in):
            yield name, found


def _resolve(name: str) -> object:
    """A listed name's object, from what is loaded; only ever called with literals of this file."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for attribute in qualname.split("."):
        found = vars(found).get(attribute) if found is not None else None
    return found.__func__ if isinstance(found, staticmethod) else found
