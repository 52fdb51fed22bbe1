"""What each hospital runs, here and on a SuperNode."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from lesions.task import fit, load_data, loss

app = ClientApp()


@app.train()
def train(msg: Message, context: Context) -> Message:
    """Go some steps on from the weights that came."""
    weight, bias = msg.content["arrays"].to_numpy_ndarrays()
    measured, truth = load_data(context.node_config["data-path"])
    weight, bias = fit(measured, truth, weight, bias, context.run_config)
    metrics = {"train_loss": loss(measured, truth, weight, bias), "num-examples": len(truth)}
    content = RecordDict({"arrays": ArrayRecord([weight, bias]), "metrics": MetricRecord(metrics)})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context) -> Message:
    """Say how well the weights fit this node's data."""
    weight, bias = msg.content["arrays"].to_numpy_ndarrays()
    measured, truth = load_data(context.node_config["data-path"])
    metrics = {"eval_loss": loss(measured, truth, weight, bias), "num-examples": len(truth)}
    return Message(content=RecordDict({"metrics": MetricRecord(metrics)}), reply_to=msg)
