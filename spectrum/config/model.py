"""The slice ViT: a timm ViT over slices, then slice attention, then temporal attention.

Not here: the modules themselves (``spectrum.model``), so that reading a configuration imports no
torch; what the data must tell of millimetres and seconds (``spectrum.data.places``).
"""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from spectrum.config.frozen import FrozenConfig

__all__ = ["MODEL_VERSION", "ModelConfig"]

MODEL_VERSION: Final = 2
"""Raised when a configuration and a seed come to mean other numbers: other architecture, other
fresh weights, other steps of training. Studies and trainings of another version do not go on."""

Pooling = Literal["cls", "mean", "attention", "position"]

VALUES_OF_POSITION = {"rope": 4, "sincos2d": 4}
"""Numbers that a position embedding takes at a time: sine and cosine for rows and for columns."""


class ModelConfig(FrozenConfig):
    """Every dimension of the model. Fields that feed timm keep timm's spelling."""

    backbone: str = "vit"
    """``vit``: a timm ViT with the dimensions below. Any other word is the name of a timm ViT
    (``vit_tiny_patch16_224``, ``deit3_small_patch16_224``, ``eva02_tiny_patch14_224``), which
    brings its own ``embed_dim``, ``depth``, ``num_heads``, ``pos_embed``, ``init_values``,
    ``reg_tokens`` and ``qk_norm``."""

    weights: str | None = None
    """File in timm's names and safetensors, local, that the slice encoder starts from; None starts
    fresh. The first convolution is summed over colours, patches and position embeddings are
    resampled to the slices. Needs ``amplitude_fraction: 0``, as pretrained filters have signs."""

    weights_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest that the bytes of ``weights`` must have. None takes what is there; a trial's record
    and checkpoints hold the digest of what it took."""

    embed_dim: int = Field(default=32, ge=4, le=4096)
    """Width D of a token; must be a multiple of ``num_heads``."""

    depth: int = Field(default=1, ge=1, le=64)
    """Transformer blocks of the slice encoder."""

    num_heads: int = Field(default=2, ge=1, le=64)
    """Attention heads of the slice encoder."""

    patch_size: int = Field(default=6, ge=1, le=64)
    """Edge of a patch in grid voxels; slices are padded with zeros to a multiple of it."""

    volumes_per_image: int = Field(default=1, ge=1, le=64)
    """Consecutive volumes of a slice that make one image, as its channels (2.5-D); a sequence of
    T volumes gives T / k images a slice, and ``sequences.num_volumes`` must be a multiple."""

    amplitude_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the patch filters whose output counts without its sign. They tell how strongly a
    region fluctuates together; the others tell which pattern it shows."""

    pos_embed: Literal["learned", "sincos2d", "rope", "none"] = "learned"
    """How a patch tells its place in the slice: a vector of its own, fixed waves along rows and
    columns, queries and keys turned by the place (Su et al. 2021), or not at all."""

    init_values: float | None = Field(default=None, gt=0.0, le=1.0)
    """Layer scale (Touvron et al. 2021): what each residual branch of the slice encoder is
    multiplied by at first; 1e-5 to 0.1 are usual. None leaves it out."""

    reg_tokens: int = Field(default=0, ge=0, le=64)
    """Register tokens (Darcet et al. 2024): tokens that attend like patches and are not pooled."""

    qk_norm: bool = False
    """Normalise queries and keys of the slice encoder, which keeps attention from saturating."""

    mlp_ratio: float = Field(default=1.0, gt=0.0, le=8.0)
    """Width of a block's MLP over D."""

    drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on tokens and MLPs. 0: with few data sets augmentation serves better."""

    attn_drop_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on attention weights."""

    drop_path_rate: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Stochastic depth of the slice encoder."""

    patch_pooling: Pooling = "position"
    """How the patch tokens of a slice become one slice token. ``position``: each place has a
    linear map of its own (P D^2 weights), so that where a pattern lies is kept. ``cls``: the class
    token of the encoder."""

    slice_depth: int = Field(default=1, ge=0, le=16)
    """Blocks of slice attention, which mix the slices of a volume; 0 leaves them out."""

    slice_heads: int | None = Field(default=None, ge=1, le=64)
    """Heads of slice attention; None takes ``attention_heads``."""

    slice_position: Literal["index", "mm", "none"] = "index"
    """How a slice tells its place. ``index``: a vector for each number in the stack. ``mm``: waves
    of the millimetres from the middle of the stack to the slice's centre, so that stacks of 21 and
    of 33 slices share what they teach. ``none``: not at all."""

    slice_pooling: Pooling = "position"
    """How the slice tokens of a volume become one volume token. ``position``: each slice and
    channel has a weight of its own. ``cls``: a token that attends to the slices."""

    temporal_depth: int = Field(default=1, ge=0, le=16)
    """Blocks of temporal attention, which mix the volumes of a sequence; 0 leaves them out."""

    temporal_heads: int | None = Field(default=None, ge=1, le=64)
    """Heads of temporal attention; None takes ``attention_heads``."""

    temporal_position: Literal["index", "seconds", "none"] = "index"
    """How a volume tells its time. ``index``: a vector for each number in the sequence.
    ``seconds``: waves of the seconds since the sequence's first volume, so that repetition times
    and decimations share what they teach. ``none``: not at all."""

    temporal_causal: bool = False
    """Whether a volume attends to itself and earlier volumes alone."""

    temporal_pooling: Pooling = "mean"
    """How the volume tokens become the sequence's vector, which the linear head reads. ``cls``: a
    token that attends to the volumes, after the last of them."""

    attention_heads: int = Field(default=2, ge=1, le=64)
    """Heads of slice and temporal attention and of attention pooling."""

    position_std: float = Field(default=0.5, gt=0.0, le=4.0)
    """Standard deviation of fresh positions of slices and volumes, beside tokens of about 0.6.
    The 0.02 of image ViTs leaves attention blind to order in the steps that few runs allow: on a
    planted order it scored at chance (``tests/benchmarks/blocks.md``)."""

    @property
    def heads_of_slices(self) -> int:
        """Heads of slice attention."""
        return self.slice_heads or self.attention_heads

    @property
    def heads_of_volumes(self) -> int:
        """Heads of temporal attention."""
        return self.temporal_heads or self.attention_heads

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.backbone != "vit":
            return self
        for name in ("num_heads", "attention_heads", "slice_heads", "temporal_heads"):
            heads = getattr(self, name)
            if heads and self.embed_dim % heads:
                raise ValueError(
                    f"model.embed_dim is {self.embed_dim} and model.{name} {heads}; "
                    f"the width must be a multiple of the heads"
                )
        return self

    @model_validator(mode="after")
    def _waves_fit_the_width(self) -> Self:
        if self.backbone != "vit" or self.pos_embed not in VALUES_OF_POSITION:
            return self
        is_turned = self.pos_embed == "rope"
        width = self.embed_dim // self.num_heads if is_turned else self.embed_dim
        if width % VALUES_OF_POSITION[self.pos_embed]:
            what = "model.embed_dim / model.num_heads" if is_turned else "model.embed_dim"
            raise ValueError(
                f"model.pos_embed is {self.pos_embed} and {what} {width}; it must be a multiple "
                "of 4, for sine and cosine along rows and columns"
            )
        return self

    @model_validator(mode="after")
    def _class_tokens_attend(self) -> Self:
        for level in ("slice", "temporal"):
            pooling, depth = getattr(self, f"{level}_pooling"), getattr(self, f"{level}_depth")
            if pooling == "cls" and depth == 0:
                raise ValueError(
                    f"model.{level}_pooling is cls with model.{level}_depth: 0, where its token "
                    f"sees nothing. Set model.{level}_depth to 1 or more, or pool otherwise"
                )
        return self

    @model_validator(mode="after")
    def _weights_keep_their_signs(self) -> Self:
        if self.weights is not None and self.amplitude_fraction:
            raise ValueError(
                f"model.weights is {self.weights} with model.amplitude_fraction: "
                f"{self.amplitude_fraction}, which would take the sign from pretrained filters. "
                "Set model.amplitude_fraction to 0"
            )
        return self
