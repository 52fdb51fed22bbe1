"""Flower's own FedAvg; the moment at which each round had been averaged is written down."""

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


class Timed(FedAvg):
    def __init__(self, told: str) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
        self._told = told

    def aggregate_train(self, server_round, replies):
        found = super().aggregate_train(server_round, replies)
        with Path(self._told).open("a", encoding="ascii") as file:
            file.write(f"{time.time()}\n")
        return found


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    count = config["values"] // config["tensors"]
    draw = np.random.default_rng(1)
    arrays = [draw.standard_normal(count, dtype=np.float32) for _ in range(config["tensors"])]
    Timed(config["told"]).start(
        grid=grid, initial_arrays=ArrayRecord(arrays), num_rounds=config["rounds"]
    )
