"""The training loop. One. It names no method: a recipe brings its model, its objective and its optimiser."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from . import ranks, tracking
from .batch import Batch
from .checkpoint import load_state, save_state
from .config import to_dict
from .data.cycles import Corpus
from .data.loader import train_loader
from .data.material import Material
from .errors import AuscultError
from .evaluate import probabilities, task_scores
from .metrics import Scores
from .models.pretrained import start_from
from .models.sharing import share_encoding
from .models.weights import Weights, save_weights
from .objectives import Objective
from .optim import moving_average
from .progress import say, track
from .recipes import Recipe, RecipeSpec
from .runs import Run, environment, write_json


class Step(nn.Module):
    """Model and objective as ONE module: gradients stay right when a wrapper averages them over processes."""

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.objective(self.model, batch)


def train(
    recipe: RecipeSpec,
    dataset: str,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    partial: bool = False,
    track: str | None = tracking.NONE,
) -> Run:
    """Trains `recipe` and leaves a run folder that `evaluate` and `predict` read.

    The same recipe, data, seed and machine give the same weights, bit for bit, on a CPU; a run that was stopped at any
    moment and resumed gives them too, because every epoch draws its randomness from (seed, epoch) alone.

    Args:
        dataset: name in `DATASETS`.
        data: folder of the data set.
        out: the run folder.
        resume: continue from the last whole epoch found there.
        partial: train on the recordings that are there when some have no audio.
        track: a tracker beside metrics.jsonl; None takes the default of `tracking.chosen`.

    Raises:
        AuscultError: E_DATA, E_RUN, E_SETTING or E_DISK, before any time is spent where possible.
    """
    with ranks.met():
        return train_here(recipe, dataset, data, Run(out), seed, resume, partial, tracking.chosen(track))


def train_here(
    recipe: RecipeSpec, dataset: str, data: Path, run: Run, seed: int, resume: bool, partial: bool, tracker: str
) -> Run:
    """The part of `train` that each process does; the first writes, and makes what the others then find made."""
    recipe.check_processes(ranks.count())
    stuff = ranks.first_then_others(lambda: begin(recipe, dataset, data, run, seed, resume, partial))
    with tracking.tracked(run, tracker if ranks.first() else tracking.NONE):
        recipe.fit(stuff, run, seed, resume)
    return run


def begin(recipe: RecipeSpec, dataset: str, data: Path, run: Run, seed: int, resume: bool, partial: bool) -> Material:
    """Checks all that can be checked before any time is spent, gathers the material, and opens the run folder."""
    asked = {"recipe": to_dict(recipe), "dataset": dataset, "seed": seed, "partial": partial}
    if ranks.first():
        check_folder(run, asked, resume)
    recipe.prepare(run)
    stuff = recipe.material(dataset, data, partial=partial, training=True)
    if not stuff.split.train:
        raise AuscultError("E_DATA", f"no training cycle of {dataset} can be used; `auscult prepare` says why.")
    if (recipe.selection == "best_on_test" or recipe.also_best_on_test) and not any(stuff.split.tests.values()):
        raise AuscultError(
            "E_DATA",
            f"no test cycle of {dataset} has audio, so no epoch can be the best on them; leave out best_on_test.",
        )
    if not stuff.corpus.test_parts and stuff.split.validation:
        say(f"{dataset} has no test part: the patients held out for validation will be scored, by the last epoch")
    if not run.exists:
        write_json(run.folder / "environment.json", environment() | {"processes": ranks.count()})
        write_json(run.recipe_file, asked | {"data": str(data.resolve()), "classes": stuff.corpus.classes})
    return stuff


def check_folder(run: Run, asked: dict[str, Any], resume: bool) -> None:
    """A run folder is used again only to resume the very same run."""
    if not run.exists:
        # environment.json and hidden temporaries are all that a start cut short can leave
        strangers = {f.name for f in run.folder.glob("[!.]*")} - {"environment.json"}
        if strangers:
            raise AuscultError("E_RUN", f"{run.folder} is not empty and holds no run; choose another --out.")
        return
    if not resume:
        raise AuscultError(
            "E_RUN", f"{run.folder} already holds a run; pass --resume to continue it, or another --out."
        )
    before = run.settings()
    changed = [key for key in asked if before.get(key) != asked[key]]
    if changed:
        detail = "; ".join(f"{key}: it has {before.get(key)!r}, asked is {asked[key]!r}" for key in changed)
        raise AuscultError(
            "E_RUN", f"{run.folder} holds another run, it cannot be resumed with these settings: {detail}"
        )


class Trainer:
    """State of a run while it trains: everything a checkpoint holds."""

    def __init__(self, recipe: Recipe, stuff: Material, run: Run, seed: int) -> None:
        self.recipe, self.stuff, self.run, self.seed = recipe, stuff, run, seed
        self.accelerator = Accelerator(cpu=ranks.count() > 1 and not torch.cuda.is_available())
        torch.manual_seed(seed)
        self.model = recipe.build_model(len(stuff.corpus.classes))
        if recipe.weights is not None and not run.checkpoint.exists():
            self.start(recipe.weights)
        if recipe.compile != "none":
            self.model.backbone.compile_encode(recipe.compile)
        if ranks.count() > 1:
            share_encoding(self.model.backbone)
        devices = len(stuff.corpus.devices)
        self.objective = recipe.objective.build(self.model.backbone.features, stuff.counts("train"), devices)
        self.step = self.accelerator.prepare(Step(self.model, self.objective))
        self.optimizer = recipe.optimizer.build(self.step)
        self.tops = [group["lr"] for group in self.optimizer.param_groups]
        cycles = stuff.dataset("train")
        self.loader, self.order = train_loader(
            cycles, recipe.batch_size, recipe.sampler, recipe.drop_last, seed, self.accelerator.device
        )
        self.epoch = 0  # whole epochs done
        self.best: dict[str, float] = {}  # of each selection that looks for one
        self.improved: set[str] = set()

    def fit(self, resume: bool) -> None:
        """Trains to the recipe's last epoch, leaving a checkpoint after each."""
        if resume and self.run.checkpoint.exists():
            self.restore()
        elif resume and ranks.first():
            self.run.rewind(0)  # it was stopped between the first line of the log and the first checkpoint
        while self.epoch < self.recipe.epochs:
            started = time.perf_counter()
            losses = self.train_epoch()
            ranks.check_agreement(self.step.parameters())
            self.epoch += 1
            record = {"epoch": self.epoch, "lr": self.optimizer.param_groups[0]["lr"], "loss": losses}
            record |= self.select()
            spent = {"seconds": round(time.perf_counter() - started, 2), "wait_s": round(self.loader.waited_s, 3)}
            if ranks.first():
                self.run.log(record | spent)
                self.checkpoint()
            say(self.line(record, time.perf_counter() - started))

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training cycles; gives the mean of every named loss."""
        torch.manual_seed(self.seed * 100_003 + self.epoch)  # masks, drop path, mixing: the epoch decides them all
        self.order.set_epoch(self.epoch)
        self.step.train()
        steps, sums = len(self.loader), dict[str, Tensor]()
        for number, batch in enumerate(track(self.loader, f"epoch {self.epoch + 1}/{self.recipe.epochs}")):
            self.set_rate(number, steps)
            self.objective.progress = (self.epoch + number / steps) / self.recipe.epochs
            for name, loss in self.minimise(batch).items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss  # on the device: nobody waits for a number
        return self.finite({name: float(total) / steps for name, total in sums.items()})

    def minimise(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser; gives the named losses at the point where it started or last looked."""
        losses: dict[str, Tensor] = {}

        # ---------------------------------------------------------------- the step
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            with torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
                losses.update(self.step(batch))
            total = torch.stack(list(losses.values())).sum()
            self.accelerator.backward(total)
            if self.recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(self.step.parameters(), self.recipe.clip_grad)
            return total

        with moving_average(self.step, self.recipe.moving_average):
            self.optimizer.step(closure)  # type: ignore[arg-type]  # torch asks for a float and takes a tensor
        # ---------------------------------------------------------------- end of the step
        return {name: loss.detach() for name, loss in losses.items()}

    def set_rate(self, number: int, steps: int) -> None:
        """Sets the learning rate of step `number` of the current epoch."""
        factor = self.recipe.schedule.factor(self.epoch, number, steps, self.recipe.epochs)
        for group, top in zip(self.optimizer.param_groups, self.tops, strict=True):
            group["lr"] = top * factor

    def finite(self, losses: dict[str, float]) -> dict[str, float]:
        """`losses`, if they are numbers.

        Raises:
            AuscultError: E_RUN when a loss is NaN or infinite; the last checkpoint is that of the epoch before.
        """
        for name, value in losses.items():
            if not math.isfinite(value):
                raise AuscultError(
                    "E_RUN",
                    f"loss {name!r} became {value} in epoch {self.epoch + 1}. Lower the learning rate "
                    f"(--set optimizer.lr=...), or set clip_grad=1; {self.run.folder} keeps the epochs before.",
                )
        return losses

    def select(self) -> dict[str, Any]:
        """Keeps the weights of this epoch under each selection it is the best of; gives what was measured for that."""
        measured: dict[str, Any] = {}
        if self.stuff.split.validation:
            measured["validation"] = self.scores("validation")
        if self.recipe.selection == "best_on_test" or self.recipe.also_best_on_test:
            measured["test"] = {part: self.scores(part) for part, rows in self.stuff.split.tests.items() if rows}
        found = selection_scores(self.recipe, self.stuff.corpus, measured)
        self.improved = {name for name, score in found.items() if score > self.best.get(name, -math.inf)}
        self.best |= {name: found[name] for name in self.improved}
        kept = sorted(self.improved) + (["last"] if self.epoch == self.recipe.epochs else [])
        for name in kept if ranks.first() else ():
            self.save(name)
        return measured

    def scores(self, part: str) -> dict[str, Any]:
        """Scores of every task on a part, with the weights of this moment."""
        dataset = self.stuff.dataset(part)
        p = probabilities(self.model, dataset, self.accelerator.device)
        made: list[Scores] = task_scores(dataset.label.numpy(), p, self.stuff.corpus)
        return {s.task: asdict(s) for s in made}

    def save(self, selection: str) -> None:
        """Writes the weights of this epoch under the name of a selection."""
        facts = {
            "dataset": self.stuff.corpus.name,
            "seed": self.seed,
            "epoch": self.epoch,
            "selection": selection,
        }
        if self.stuff.quality is not None:
            facts["quality"] = self.stuff.quality.scale.facts()
        weights = Weights(
            state=self.accelerator.unwrap_model(self.step).model.state_dict(),
            recipe=to_dict(self.recipe),
            classes=self.stuff.corpus.classes,
            facts=facts,
        )
        save_weights(self.run.weights(selection), weights)

    def checkpoint(self) -> None:
        """Writes all that `restore` needs."""
        state = {
            "epoch": self.epoch,
            "best": self.best,
            "step": self.accelerator.unwrap_model(self.step).state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.run.checkpoint, state)

    def start(self, weights: str) -> None:
        """Fills the backbone with the weights that the recipe starts from; start.json keeps what was matched."""
        report = start_from(self.model.backbone, weights, allow_partial=self.recipe.partial_weights)
        if ranks.first():
            write_json(self.run.folder / "start.json", report.to_dict())

    def restore(self) -> None:
        """Goes back to the last whole epoch."""
        state = load_state(self.run.checkpoint)
        self.accelerator.unwrap_model(self.step).load_state_dict(state["step"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.best = dict(state["best"])
        if ranks.first():
            self.run.rewind(self.epoch)
        say(f"resumed {self.run.folder} after epoch {self.epoch} of {self.recipe.epochs}")

    def line(self, record: dict[str, Any], seconds: float) -> str:
        """One plain line about an epoch."""
        losses = "  ".join(f"{name} {value:.4f}" for name, value in record["loss"].items())
        text = f"epoch {self.epoch:3d}/{self.recipe.epochs}  {losses}"
        if "validation" in record:
            task = self.recipe.selection_task or self.stuff.corpus.tasks[0].name
            found = record["validation"][task]
            text += f"  validation {task}: Se {100 * found['Se']:.1f} Sp {100 * found['Sp']:.1f}"
            text += f" Score {100 * found['Score']:.1f}"
            text += " (best so far)" if "validation" in self.improved else ""
        return f"{text}  {seconds:.0f} s"


def selection_scores(recipe: RecipeSpec, corpus: Corpus, measured: dict[str, Any]) -> dict[str, float]:
    """For each selection the number that chooses its epoch: the mean Score of the chosen task over its parts."""
    parts: dict[str, Sequence[dict[str, Any]]] = {}
    if "validation" in measured:
        parts["validation"] = [measured["validation"]]
    if measured.get("test"):
        parts["best_on_test"] = list(measured["test"].values())
    task = recipe.selection_task or corpus.tasks[0].name
    return {name: sum(part[task]["Score"] for part in of) / len(of) for name, of in parts.items()}
