"""fastai's Adam with torch's fused kernel instead of ten small kernels per tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from fastai.optimizer import Optimizer
from torch.optim.adamw import adamw

OPTIMIZER = "AdamW, fused"  # what a training's identity calls it


class FusedAdam(Optimizer):
    """AdamW (Loshchilov & Hutter 2019) as fastai's ``Adam`` computes it, but for the last bits of a weight.

    Groups, hyperparameters, freezing and exemptions from weight decay (``do_wd``) are fastai's. A step is bound by
    memory: fastai's reads and writes each number ten times, the fused kernel once.
    """

    def __init__(
        self, params: Iterable, lr: float, mom: float = 0.9, sqr_mom: float = 0.99, eps: float = 1e-5, wd: float = 0.01
    ) -> None:
        """Set the groups of parameters (float32, one list each) and, by fastai's names, lr, betas, eps and decay."""
        super().__init__(params, [], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update every parameter that has a gradient."""
        alike = defaultdict(list)
        for number, group in enumerate(self.param_lists):
            for parameter in group:
                if parameter.grad is not None:
                    alike[number, self.state[parameter].get("do_wd", True)].append(parameter)
        for (number, decays), parameters in alike.items():
            hyper = self.hypers[number]
            states = [self._state_of(parameter) for parameter in parameters]
            adamw(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["grad_avg"] for state in states],
                [state["sqr_avg"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=hyper["mom"],
                beta2=hyper["sqr_mom"],
                lr=hyper["lr"],
                weight_decay=hyper["wd"] if decays else 0.0,
                eps=hyper["eps"],
                maximize=False,
            )

    def load_state_dict(self, sd: dict[str, Any]) -> None:
        """Load what ``state_dict`` gave, in the parameters' memory layout, as the fused kernel requires."""
        super().load_state_dict(sd)
        for parameter, state in self.state.items():
            for name in {"grad_avg", "sqr_avg"} & state.keys():
                state[name] = torch.empty_like(parameter).copy_(state[name])

    def zero_grad(self) -> None:
        """Drop the gradients instead of zeroing them, which costs a GPU two kernels per tensor."""
        for parameter, *_ in self.all_params():
            parameter.grad = None

    def _state_of(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        state = self.state[parameter]
        if "step" not in state:
            state["grad_avg"], state["sqr_avg"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state
