"""What a SuperLink runs; in a radfed federation the coordinator does this, and this file rests."""

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average the hospitals' weights, round after round."""
    arrays = ArrayRecord([np.zeros(1, np.float32), np.zeros(1, np.float32)])
    rounds = context.run_config["num-server-rounds"]
    FedAvg().start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
