"""A small copy of the project in a folder of its own, and its command line."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from network_material import SMALL_NETWORK

ROOT = Path(__file__).parents[2]

# Loaded by every Python below it: any connection that is not to this machine ends the process with a plain word.
NO_NETWORK = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        print("TRIED THE NETWORK:", address, flush=True)
        raise OSError(f"no network in tests: {address}")
    return _connect(self, address)
socket.socket.connect = connect
"""


def shrink(parameters: dict, *, networks: dict | None) -> dict:
    """Make a parameter file's work small: one epoch, one thread, 32 px, few phantoms, no weights to download."""
    for block in parameters.values():
        if "arch" in block:
            block |= networks or {}
        for stage in ("stage_1", "stage_2"):
            if stage in block and block[stage].get("epochs", 0) > 1:
                block[stage]["epochs"] = 1
        if "pretrained" in block:
            block["pretrained"] = "none"
        if "batch_size" in block:
            block["batch_size"] = 16
        if "num_it" in block:
            block["num_it"] = 10
        if "folds" in block:
            block["folds"] = 2
        if "bootstrap_draws" in block:
            block["bootstrap_draws"] = 200
        if "top_losses" in block:
            block["top_losses"] = 1  # a heat map takes as long as an epoch here
    if "training" in parameters:
        parameters["training"]["num_threads"] = 1  # 32 px leave nothing to share out, and cores may be taken
    if "image" in parameters:
        parameters["image"]["size"] = 32
    if (parameters.get("source") or {}).get("phantoms"):
        parameters["source"]["phantoms"] |= {"patients": 8, "cells_per_patient": 12, "size": 32}
    return parameters


class Project:
    """A copy of the project and what can be run in it.

    Attributes:
        folder: where it is.
        own_code: whether the copy's code was changed: a process that is forked has the original's imported.
    """

    own_code = False

    def __init__(self, folder: Path, *, networks: dict | None = SMALL_NETWORK) -> None:
        """Copy it.

        Args:
            folder: where to.
            networks: what the networks of all variants are replaced by; None = they stay those of the tutorial.
        """
        self.folder = folder
        for name in ("conf", "src", "data", "notebooks"):
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", ".ipynb_checkpoints")
            # Of data/ only the empty folders are the project's.
            shutil.copytree(ROOT / name, folder / name, ignore=_all_files if name == "data" else ignored)
        for name in ("pyproject.toml", "Makefile", "README.md", "LICENSE", ".telemetry"):
            shutil.copy(ROOT / name, folder)
        shutil.rmtree(folder / "conf" / "local", ignore_errors=True)
        (folder / "conf" / "local").mkdir()
        for file in (folder / "conf").glob("*/parameters*.yml"):
            small = shrink(yaml.safe_load(file.read_text()), networks=networks)
            file.write_text(yaml.safe_dump(small, sort_keys=False))
        (folder / ".no_network").mkdir()
        (folder / ".no_network" / "sitecustomize.py").write_text(NO_NETWORK)

    def copied_to(self, folder: Path) -> Project:
        """Copy the project with all that was run in it: what is done there changes nothing here.

        Weights and pixels are hard links: they are the bulk of it, and the project replaces such a file and never
        writes into one.
        """
        shutil.copytree(self.folder, folder, copy_function=_copy_or_link)
        twin = copy.copy(self)
        twin.folder = folder
        return twin

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder; its output comes back as one text, without looking at its success.

        ``kedro`` and ``malaria-kedro predict`` are processes of their own that begin with torch and fastai imported,
        which takes most of a small run.
        """
        warm = command[0] == "kedro" or command[:2] == ("malaria-kedro", "predict")
        if warm and not environment and not self.own_code:
            from processes import KedroProcess

            process = KedroProcess(self.folder, *command[1:], command=command[0])
            return subprocess.CompletedProcess(command, process.wait(), process.said())
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment() | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        paths = [str(self.folder / ".no_network"), str(Path(sys.executable).parent)]
        return {
            **{key: value for key, value in os.environ.items() if key not in ("KEDRO_ENV", "PYTHONPATH")},
            "PYTHONPATH": paths[0],
            "PATH": os.pathsep.join([paths[1], os.environ["PATH"]]),
        }

    def make_run(self) -> str:
        """Type ``make run``, expect it to succeed without the network, and return what it printed."""
        # The environment that runs the tests stands for the one that `make` would set up.
        binaries, ready = Path(sys.executable).parent, Path(".venv") / ".ready"
        done = self.run("make", "run", f"BIN={binaries}", "-o", str(ready))
        assert done.returncode == 0, done.stdout[-4000:]
        assert "TRIED THE NETWORK" not in done.stdout
        return done.stdout

    def predict_apart(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``malaria-kedro predict`` as `run` does; its standard output and its errors come back apart."""
        from processes import KedroProcess

        process = KedroProcess(folder or self.folder, "predict", *arguments, command="malaria-kedro", errors_apart=True)
        return subprocess.CompletedProcess(arguments, process.wait(), process.said(), process.said_on_stderr())

    def run_apart(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command from nothing, here or in another folder; its output and its errors come back apart."""
        return subprocess.run(
            command,
            cwd=folder or self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )

    def kedro(self, *arguments: str, **environment: str) -> str:
        """Run kedro, expect it to succeed without the network, and return what it printed."""
        done = self.run("kedro", *arguments, **environment)
        assert done.returncode == 0, done.stdout[-4000:]
        assert "TRIED THE NETWORK" not in done.stdout
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """Run kedro, expect it to fail, and return what it printed."""
        done = self.run("kedro", *arguments)
        assert done.returncode != 0, done.stdout[-4000:]
        return done.stdout


def _copy_or_link(source: str, target: str) -> None:
    if source.endswith((".safetensors", ".npy")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _all_files(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not (Path(folder) / name).is_dir() or name == "demo"}
