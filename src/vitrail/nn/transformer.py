"""The Transformer of 2017, which reads a sequence and writes another.

Vaswani et al. 2017, "Attention is all you need".
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.nn.attention import Attention, CrossAttention
from vitrail.nn.block import RESIDUALS, Block, CrossBlock, PreNorm
from vitrail.nn.decoder import Decoder
from vitrail.nn.encoder import Encoder
from vitrail.nn.feedforward import MLP
from vitrail.nn.init import xavier
from vitrail.nn.norm import layer_norm
from vitrail.nn.positions import SinePositions


class Transformer(nn.Module):
    """An encoder reads words; a decoder, which sees no later word of its own, tells what comes next.

    One matrix is the embedding of both sequences and, turned round, the output (section 3.4). Embeddings are
    multiplied by the root of the width, so that they are as strong as the positions added to them.
    """

    def __init__(self, *, embed: nn.Embedding, encoder: Encoder, decoder: Decoder, dropout: float) -> None:
        super().__init__()
        self.embed, self.positions = embed, SinePositions(embed.embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.encoder, self.decoder = encoder, decoder

    def forward(
        self,
        source: Int[Tensor, "b m"],
        target: Int[Tensor, "b n"],
        source_mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n v"]:
        """Return for each word of the target the logits of the one after it.

        ``source_mask`` is true for words and false for padding. A target is padded at its end, where nothing
        that comes before can see it, and needs no mask.
        """
        return self.decode(target, self.encode(source, source_mask), source_mask)

    def encode(
        self, source: Int[Tensor, "b m"], source_mask: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, "b m d"]:
        """Return what was understood of each word."""
        context: Tensor = self.encoder(self._enter(source), source_mask)
        return context

    def decode(
        self,
        target: Int[Tensor, "b n"],
        context: Float[Tensor, "b m d"],
        source_mask: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b n v"]:
        """Return the logits of the word after each, given what `encode` understood."""
        written = self.decoder(self._enter(target), context, None, source_mask)
        return F.linear(written, self.embed.weight)

    @torch.no_grad()
    def translate(
        self,
        source: Int[Tensor, "b m"],
        source_mask: Bool[Tensor, "b m"] | None = None,
        *,
        start: int,
        end: int,
        longest: int,
    ) -> Int[Tensor, "b n"]:
        """Return the most probable word after word: ``start`` is put before them, each row stops at ``end``.

        A row that stopped is filled up with ``end``; one that did not has the ``longest`` length.
        """
        context = self.encode(source, source_mask)
        words = source.new_full((len(source), 1), start)
        stopped = torch.zeros(len(source), dtype=torch.bool, device=source.device)
        for _ in range(longest):
            following = self.decode(words, context, source_mask)[:, -1].argmax(-1).masked_fill(stopped, end)
            words = torch.cat([words, following[:, None]], dim=1)
            stopped |= following == end
            if stopped.all():
                break
        return words[:, 1:]

    def _enter(self, words: Tensor) -> Tensor:
        x = self.embed(words) * self.embed.embedding_dim**0.5
        entered: Tensor = self.dropout(x + self.positions((words.shape[1],)).to(x))
        return entered


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """How large a Transformer is; without departures the base model of the paper (its table 3)."""

    vocabulary: int
    """Words of both languages together."""
    width: int = 512
    """Features of a word."""
    depth: int = 6
    """Layers of the encoder, and as many of the decoder."""
    heads: int = 8
    """Attentions side by side in a layer; they divide the width."""
    hidden: int = 2048
    """Hidden width of the feed-forward parts."""
    dropout: float = 0.1
    """The chance that a number is dropped in training: of what enters, and of what each branch adds."""
    norm_place: Literal["pre", "post"] = "post"
    """Normalise after each sum, as in 2017, or before each branch: deep networks then need no warm-up."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "depth", "heads", "hidden"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout is a chance from 0 to below 1, not {self.dropout:g}.")

    def build(self) -> Transformer:
        """Return the network with fresh weights from torch's global generator.

        Raises UsageError when the heads do not divide the width.
        """
        transformer = Transformer(
            embed=nn.Embedding(self.vocabulary, self.width),
            encoder=Encoder((self._block() for _ in range(self.depth)), self._last_norm()),
            decoder=Decoder((self._cross_block() for _ in range(self.depth)), self._last_norm()),
            dropout=self.dropout,
        ).apply(xavier)
        # The output is the same matrix: with this deviation its first logits are of the order of 1.
        nn.init.normal_(transformer.embed.weight, std=self.width**-0.5)
        return transformer

    def _block(self) -> Block:
        return Block(
            around_mix=self._around(),
            mix=Attention(self.width, self.heads),
            around_feed=self._around(),
            feed=MLP(self.width, self.hidden, activation="relu"),
        )

    def _cross_block(self) -> CrossBlock:
        return CrossBlock(
            around_mix=self._around(),
            mix=Attention(self.width, self.heads, causal=True),
            around_cross=self._around(),
            cross=CrossAttention(self.width, self.heads),
            around_feed=self._around(),
            feed=MLP(self.width, self.hidden, activation="relu"),
        )

    def _around(self) -> PreNorm:
        return RESIDUALS[self.norm_place](layer_norm(self.width), drop=nn.Dropout(self.dropout))

    def _last_norm(self) -> nn.Module:
        return layer_norm(self.width) if self.norm_place == "pre" else nn.Identity()
