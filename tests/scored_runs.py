"""Scored runs, studies and pages of results without training, as `auscult evaluate` and `auscult study` leave them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from auscult.analysis.ledger import table
from auscult.analysis.results import scores_text
from auscult.analysis.row_checks import sha256, with_checks
from auscult.analysis.spreadsheet import csv_text, exact
from auscult.analysis.study_counts import read_predictions
from auscult.analysis.study_files import write_study
from auscult.analysis.study_page import put
from auscult.analysis.study_table import markdown
from auscult.analysis.verify_run import rescored, tables_of
from auscult.config import fingerprint
from auscult.metrics import Task
from auscult.runs import write_json, write_text

CLASSES = ("normal", "crackle", "wheeze", "both")
TASKS = (
    Task(name="4-class", classes=CLASSES, mapping=(0, 1, 2, 3)),
    Task(name="grouped", classes=("normal", "abnormal"), mapping=(0, 1, 1, 1), formula="sprsound", decide="group"),
)
PATIENTS, CYCLES = 8, 6
HEAD = ["recording", "patient", "device", "part", "start_s", "end_s", "truth", "predicted"]


def recipe(name: str) -> dict[str, Any]:
    return {"name": name, "epochs": 1, "selection": "last", "split": "official"}


def predictions(seed: int, skill: float) -> list[list[Any]]:
    """Rows of predictions.csv: the same cycles for every seed."""
    truth = np.random.default_rng(0).integers(0, 4, (2, PATIENTS, CYCLES))
    generator, rows = np.random.default_rng(seed), []
    for part, labels in zip(("inter", "intra"), truth, strict=True):
        for patient, cycle in np.ndindex(PATIENTS, CYCLES):
            label = labels[patient, cycle]
            p = generator.dirichlet(np.ones(4)) + skill * generator.random() * np.eye(4)[label]
            p = (p / p.sum()).astype(np.float32)
            where = [f"{part}{patient}", f"p{patient}", "stethoscope", part, 1.5 * cycle, 1.5 * cycle + 1]
            rows.append([*where, CLASSES[label], CLASSES[p.argmax()], *map(exact, p)])
    return rows


def make_run(folder: Path, name: str, seed: int, skill: float = 1.0, checks: bool = True) -> Path:
    """A scored run folder; with `checks` off as an earlier version wrote it."""
    text = csv_text([*HEAD, *(f"p_{c}" for c in CLASSES)], predictions(100 * seed + len(name), skill))
    text = with_checks(text) if checks else text
    write_text(folder / "predictions.csv", text)
    parts = read_predictions(folder / "predictions.csv", list(CLASSES))
    facts = {"dataset": "toy", "seed": seed, "epoch": 1, "selection": "last"}
    told = {
        "notes": ["toy sounds"],
        "recipe": {"name": name, "fingerprint": fingerprint(recipe(name))},
        "tasks": json.loads(json.dumps([asdict(task) for task in TASKS])),
        "dataset": "toy",
        "classes": list(CLASSES),
        "split": "official",
        "facts": facts,
        "parts": {part: rescored(scored, list(TASKS)) for part, scored in parts.items()},
    }
    write_text(folder / "scores.json", scores_text(told | ({"predictions_sha256": sha256(text)} if checks else {})))
    tables = []
    for part, found in told["parts"].items():
        tables += tables_of(found, list(CLASSES), parts[part])
    write_text(folder / "report.html", "<!doctype html>\n<h1>run</h1>\n" + "\n<p>words</p>\n".join(tables))
    write_json(folder / "recipe.json", {"recipe": recipe(name), "dataset": "toy", "seed": seed, "partial": False})
    where = {"commit": "abc", "gpu": None, "processor": "cpu", "cores": 2, "threads": 1, "python": "3"}
    write_json(folder / "environment.json", where | {"versions": {"torch": "2"}})
    write_text(folder / "metrics.jsonl", json.dumps({"epoch": 1, "seconds": 60.0}) + "\n")
    return folder


def make_study(out: Path, skills: dict[str, float], seeds: int = 2) -> Path:
    """A finished study with its table: a row for each name."""
    rows = [
        {"name": n, "settings": [], "paper": None, "fingerprint": fingerprint(recipe(n)), "recipe": recipe(n)}
        for n in skills
    ]
    about = {
        "study": "toy",
        "dataset": "toy",
        "seeds": seeds,
        "partial": False,
        "paper": "",
        "command": "auscult study",
    }
    write_json(out / "plan.json", about | {"rows": rows, "classes": CLASSES, "tasks": [asdict(task) for task in TASKS]})
    for name, skill in skills.items():
        for seed in range(seeds):
            make_run(out / name / f"s{seed}", name, seed, skill)
    write_study(out)
    return out


def make_docs(folder: Path, study: Path, runs: list[Path]) -> Path:
    """A page of results with a study and single runs."""
    (folder / "results" / "studies").mkdir(parents=True)
    (folder / "results" / "studies" / "toy.json").write_text((study / "study.json").read_text())
    for seed, run in enumerate(runs):
        (folder / "results" / f"toy_run_s{seed}.json").write_text((run / "scores.json").read_text())
    known = json.loads((study / "study.json").read_text())
    single = table([json.loads((run / "scores.json").read_text()) for run in runs])
    page = f"# Results\n\n{single}\nwords\n\n<!-- study toy -->\nold\n<!-- end -->\n"
    (folder / "results.md").write_text(put(page, "toy", markdown(known)))
    return folder
