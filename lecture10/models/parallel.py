"""One model on several devices: who stores what, what each computes, and what it sends to the others.

Notebook: book/Lecture10-Lab-Models.ipynb. Everything here is an ideal: work that can be divided is divided evenly
(experts too: a real router loads one device more), so no device does less than the busiest one here. What cannot be
divided is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import sympy as sp

from ..checks import amount, checked, each, instance, one_of, size, whole
from ..cost import Cost
from .experts import MLP, MixtureOfExperts
from .mixer import Mixer
from .passes import Pass, Size
from .transformer import Transformer

ATTENTION = ("tensor-parallel", "data-parallel")
"""Heads cut over the devices, or sequences: then each device has all attention weights, and no head is copied."""

EXPERTS = ("tensor-parallel", "expert-parallel")
"""Every expert cut over the devices, or whole experts spread over them."""

MIXING = {"attention", "indexer", "recurrence"}
"""Operations on caches and states."""

ACTIVATION_BYTES = 2
"""What a device sends: 16-bit activations."""

_MODEL = instance(Transformer)


@checked(devices=partial(whole, at_least=1), attention=one_of(ATTENTION), experts=one_of(EXPERTS))
@dataclass(frozen=True)
class Layout:
    """``devices`` of one node and how ``attention`` and ``experts`` are divided between them, see ``ATTENTION``,
    ``EXPERTS``.

    Tensor-parallel attention gives each device N/n query heads and max(1, K/n) key/value heads: with fewer key/value
    heads than devices each is stored n/K times, and a latent cache, which all heads share, on every device, as
    engines do it. Data-parallel attention gives each device ⌈B/n⌉ whole sequences; beside it, expert-parallel means
    that only the experts are divided, and tensor-parallel that every other matrix is. Raises ValueError for anything
    that is not of these.
    """

    devices: int = 1
    attention: str = ATTENTION[0]
    experts: str = EXPERTS[0]

    @property
    def splits_sequences(self) -> bool:
        return self.attention == ATTENTION[1] and self.devices > 1

    @checked(model=_MODEL)
    def starts(self, model: Transformer) -> bool:
        """Whether an engine starts: heads and experts are whole numbers on every device."""
        return self._starts(self.devices, _mixers(model), _experts(model))

    def _starts(self, devices: int, mixers: list[Mixer], experts: list[int]) -> bool:
        cut = self.attention == ATTENTION[1] or all(mixer.share(devices) for mixer in mixers)
        return cut and (self.experts == EXPERTS[0] or all(number % devices == 0 for number in experts))

    @checked(model=_MODEL)
    def require_start(self, model: Transformer) -> None:
        """Raises ValueError with the nearest numbers of devices when no engine starts on this one."""
        if self.experts == EXPERTS[1] and not any(_experts(model)):
            raise ValueError(f"experts = {self.experts!r}: expected {EXPERTS[0]!r}, "
                             f"{model.name or 'the model'} has none")
        if self.devices == 1 or self.starts(model):
            return
        counts = list(self.counts(model))
        near = [max(n for n in counts if n < self.devices), *(n for n in counts if n > self.devices)][:2]
        raise ValueError(f"devices = {self.devices}: expected {' or '.join(map(str, near))}, the nearest that engines "
                         "start: heads and experts are divided, or a key/value head copied, only whole")

    @checked(model=_MODEL)
    def counts(self, model: Transformer) -> Iterator[int]:
        """The numbers of devices on which the layout starts, ascending, up to those of query heads or experts."""
        mixers, experts = _mixers(model), _experts(model)
        sizes = [*(mixer.heads for mixer in mixers), *experts, 1]
        if not all(isinstance(size, int) for size in sizes):
            raise ValueError(f"devices = {self.devices}: expected 1, the sizes of the model are symbols")
        return (n for n in range(1, max(sizes) + 1) if self._starts(n, mixers, experts))

    @checked(model=_MODEL)
    def on_one_device(self, model: Transformer) -> Transformer:
        """The model with the heads that one device holds; its matrices are left whole."""
        if self.devices == 1 or self.splits_sequences:
            return model
        return replace(model, layers=tuple(
            (count, layer if layer.attention is None else replace(layer, attention=layer.attention.share(self.devices)))
            for count, layer in model.layers))

    @checked(batch=size)
    def sequences(self, batch: Size) -> Size:
        """Sequences whose caches one device holds."""
        return sp.ceiling(sp.sympify(batch) / self.devices) if self.splits_sequences else batch

    @checked(model=_MODEL, run=instance(Pass), also=each(instance(Pass)))
    def cost(self, model: Transformer, run: Pass, *also: Pass) -> Cost:
        """What one device does in a pass: its heads or its sequences, and an even share of everything that is
        divided. ``also`` as in ``Transformer.forward``; data-parallel, whole sequences of each are counted apart."""
        everything = model.forward(run, *also)
        if self.devices == 1:
            return everything
        own = self.on_one_device(model).forward(*(replace(part, batch=self.sequences(part.batch))
                                                  for part in (run, *also)))
        share = sp.S.One / self.devices * everything
        undivided = self._undivided(model, {step.name for step in everything})
        return Cost(tuple(whole if whole.name in undivided else part for whole, part in zip(own, share, strict=True)))

    def _undivided(self, model: Transformer, operations: set[str]) -> set[str]:
        """Operations whose weights are whole on every device; those over caches and states have none, their heads are
        ``own``."""
        if not self.splits_sequences:
            return MIXING
        return operations - {"experts"} if self.experts == EXPERTS[1] else MIXING | _mixing_weights(model)

    @checked(model=_MODEL, run=instance(Pass), total=amount)
    def stored_weights(self, model: Transformer, run: Pass, total: Size) -> sp.Expr:
        """Bytes of weights on one device, of ``total``: 1/n of what is divided, all of the rest.

        Engines also copy some small matrices that could be divided (norms, routers, the ways down to a latent vector,
        the projections of copied key/value heads): left out, so a real device holds a little more.
        """
        divided = total
        if self.splits_sequences:
            spread = self.experts == EXPERTS[1]
            wanted = {"experts"} if spread else _mixing_weights(model)
            stored = sum(count * weights.copies * weights.bytes_of_each(layer.stored.instead(run.weight_bytes))
                         for count, layer in model.layers for weights in layer.weights if weights.operation in wanted)
            divided = stored if spread else total - stored
        return total - divided + sp.sympify(divided) / self.devices

    @checked(model=_MODEL, batch=size, tokens=size)
    def traffic(self, model: Transformer, batch: Size, tokens: Size) -> dict[str, sp.Expr]:
        """Bytes that a device sends in a pass, by exchange; nothing on one device.

        ``all-reduce``: partial sums of B·T·D activations after attention and after the MLP (once where both run in
        parallel), each sent 2·(n − 1)/n times, as by a ring or any other algorithm without a summing switch. With
        sequences divided: ``gather, scatter`` of the same activations around a divided MLP, (n − 1)/n times each;
        ``all-to-all``: a token goes to the devices of its k experts and back, expected number of others (n − 1)·(1 −
        C(E − E/n, k)/C(E, k)) with a random even choice. Latency, the exchange of the logits and of the embeddings are
        left out.
        """
        n, found = sp.Integer(self.devices), {}
        if self.devices == 1:
            return found
        data = ACTIVATION_BYTES * sp.sympify(batch) * tokens * model.width
        for count, layer in model.layers:
            if not self.splits_sequences:
                halves = 1 if layer.parallel or layer.attention is None or layer.mlp is None else 2
                name, sent = "all-reduce", halves * 2 * (n - 1) / n * data
            elif layer.mlp is None:
                continue
            elif self.experts == EXPERTS[0]:
                name, sent = "gather, scatter", 2 * (n - 1) / n * data
            else:
                name, sent = "all-to-all", 2 * data / n * _other_devices(layer.mlp, n)
            found[name] = found.get(name, 0) + count * sent
        return found


def _mixers(model: Transformer) -> list[Mixer]:
    return [layer.attention for _, layer in model.layers if layer.attention is not None]


def _mixing_weights(model: Transformer) -> set[str]:
    """Operations with the weights of attention, or of what stands in its place."""
    return {weights.operation for _, layer in model.layers for weights in layer.mixing_weights}


def _experts(model: Transformer) -> list[int]:
    return [layer.mlp.experts for _, layer in model.layers if isinstance(layer.mlp, MixtureOfExperts)]


def _other_devices(mlp: MLP | MixtureOfExperts, devices: sp.Integer) -> sp.Expr:
    """Expected number of other devices that hold one of a token's experts."""
    if not isinstance(mlp, MixtureOfExperts):
        return sp.S.Zero
    elsewhere = sp.binomial(mlp.experts - mlp.experts // devices, mlp.used) / sp.binomial(mlp.experts, mlp.used)
    return (devices - 1) * (1 - elsewhere)
