"""Runs a vendor's unchanged Flower App: its ClientApp as a library, no Flower server or node.

What Flower's built-in strategies send is what it gets: a `train` message with `arrays` (our
weights, named and ordered as declared) and `config` (the manifest's, and `server-round`). What its
reply holds as arrays becomes the weights, and its numbers metrics where the manifest declares them.
Every hospital is partition 0 of 1, and node 0 of run 0: nothing tells one from another.
"""

import importlib
import os
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
import radfed_job  # type: ignore[import-not-found] # it lies beside, inside

PROJECT = f"{radfed_job.CODE}/pyproject.toml"
NODE = {"data-path": f"{radfed_job.INPUT}/cohort", "partition-id": 0, "num-partitions": 1}
OURS = {"round", "rounds", "evaluate_only", "bad_cases_at_most", "mu"}
DAY = 86_400.0


class App:
    """A ClientApp under the contract of a `job.py`."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self._manifest = manifest
        with open(PROJECT, "rb") as file:
            self._app = tomllib.load(file)["tool"]["flwr"]["app"]
        if os.path.exists(f"{radfed_job.CODE}/job.py"):
            self.predict = importlib.import_module("job").predict

    def train(self, _cohort: Any, weights: dict[str, Any], config: dict[str, Any]) -> Any:
        """Send one `train` message; then `evaluate`, where the app has that, for its metrics."""
        app, run_config = self._loaded(), dict(_flat(self._app.get("config", {})))
        old = {name: weights[name] for name in self._manifest["weights"]}
        reply = self._ask(app, "train", old, config, run_config)
        new = self._arrays(reply)
        self._report(reply)
        if any(each["name"].startswith("eval") for each in self._manifest.get("metrics", [])):
            self._report(self._ask(app, "evaluate", new, config, run_config))
        return new

    def _loaded(self) -> Any:
        from flwr.clientapp import ClientApp  # type: ignore[import-not-found] # the runtime's

        module, _, path = str(self._app["components"]["clientapp"]).partition(":")
        app: Any = importlib.import_module(module)
        for name in path.split("."):
            app = getattr(app, name)
        if not isinstance(app, ClientApp):
            raise radfed_job.ContractBroken(f"{module}:{path} is no ClientApp")
        return app

    def _ask(
        self,
        app: Any,
        kind: str,
        arrays: dict[str, Any],
        config: dict[str, Any],
        run_config: dict[str, Any],
    ) -> Any:
        from flwr.app import (  # type: ignore[import-not-found] # as above
            Array,
            ArrayRecord,
            ConfigRecord,
            Context,
            Message,
            RecordDict,
        )

        _be_nobody()
        told = {name: value for name, value in config.items() if name not in OURS}
        told |= {"server-round": config["round"], "num-server-rounds": config["rounds"]}
        if config.get("mu"):
            told["proximal-mu"] = config["mu"]  # as Flower's FedProx says it
        record = ArrayRecord({name: Array(np.array(value)) for name, value in arrays.items()})
        # An app of Flower's older form (`client_fn`) looks for the same under other names.
        keys = ("arrays", "config")
        if getattr(app, "_call", None) is not None:
            ins = "fitins" if kind == "train" else "evaluateins"
            keys = (f"{ins}.parameters", f"{ins}.config")
        content = RecordDict({keys[0]: record, keys[1]: ConfigRecord(told)})
        context = Context(
            run_id=0, node_id=0, node_config=dict(NODE), state=RecordDict(), run_config=run_config
        )
        reply = app(Message(content, 0, kind, ttl=DAY, group_id=str(config["round"])), context)
        if not isinstance(reply, Message) or reply.has_error():
            raise radfed_job.ContractBroken(f"the ClientApp does not answer `{kind}`")
        return reply.content

    def _arrays(self, reply: Any) -> dict[str, Any]:
        """Return the reply's one record of arrays, by declared name and of declared type.

        An app that deals in lists names its arrays 0, 1, 2...: these go by the declared order.
        """
        records = list(reply.array_records.values())
        if len(records) != 1:
            raise radfed_job.ContractBroken(f"the reply holds {len(records)} records of arrays")
        found = {name: array.numpy() for name, array in records[0].items()}
        declared = self._manifest["weights"]
        if list(found) == [str(number) for number in range(len(declared))]:
            found = dict(zip(declared, found.values(), strict=True))
        return {name: _typed(values, declared.get(name, {})) for name, values in found.items()}

    def _report(self, reply: Any) -> None:
        """Report what is declared; how many examples there were is the hospital's to tell."""
        declared = {each["name"] for each in self._manifest.get("metrics", [])}
        for record in (*reply.metric_records.values(), *reply.config_records.values()):
            for name, value in record.items():
                if name in declared and isinstance(value, int | float):
                    radfed_job.report(name, value)


def _be_nobody() -> None:
    """Say which run, node and task this process is, where this Flower asks: one for everybody."""
    try:
        identity = importlib.import_module("flwr.supercore.task_identity").TaskIdentity
    except (ImportError, AttributeError):
        return
    identity.run_id = identity.node_id = identity.task_id = 0


def _typed(values: Any, spec: dict[str, Any]) -> Any:
    """Return an array in its declared type: counters come as whole numbers, lists as float64."""
    kinds = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
    return np.asarray(values, kinds.get(spec.get("dtype", "F32"), np.float32))


def _flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings as Flower names them: `[tool.flwr.app.config.optim] lr` is `optim.lr`."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


sys.modules.setdefault("radfed_flower", sys.modules[__name__])
