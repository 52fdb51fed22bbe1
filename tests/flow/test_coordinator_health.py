import asyncio
import json
import re
import urllib.error
import urllib.request

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.parser import text_string_to_metric_families

from coordinator.app.metrics import ALL
from tests.fakes.federation import a_federation, connected

pytestmark = pytest.mark.flow


def got(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as fault:
        return fault.code, fault.read().decode()


def test_metrics_health_and_readiness_of_a_coordinator_name_nobody(tmp_path):
    async def story():
        async with a_federation(tmp_path, "[metrics]\nport = 0\n") as federation:
            alpha, _beta = await federation.enrolled("alpha"), await federation.enrolled("beta")
            url = federation.coordinator.addresses()["metrics"]
            async with connected(alpha):
                status, text = await asyncio.to_thread(got, url)
            families = {each.name: each for each in text_string_to_metric_families(text)}
            assert status == 200
            assert set(families) == {metric.name for metric in ALL}
            for metric in ALL:
                for sample in families[metric.name].samples:
                    assert set(sample.labels) == set(metric.labels)
                    assert all(re.fullmatch(r"[a-z_]+", word) for word in sample.labels.values())
            assert families["radfed_coordinator_sites_connected"].samples[0].value == 1
            assert families["radfed_coordinator_sites_offline"].samples[0].value == 1
            assert "alpha" not in text

            base = url.removesuffix("/metrics")
            assert await asyncio.to_thread(got, f"{base}/healthz") == (200, '{"alive":true}')
            ready = await asyncio.to_thread(got, f"{base}/readyz")
            assert ready[0] == 200
            federation.days_pass(4000)
            status, said = await asyncio.to_thread(got, f"{base}/readyz")
            assert (status, json.loads(said)["certificate"]) == (503, False)

    asyncio.run(story())


def test_grpc_health_answers_whoever_has_a_certificate(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            gateway = await federation.enrolled("alpha")
            async with grpc.aio.secure_channel(gateway.address, gateway.credentials) as channel:
                for name in ("", "radfed.v1.LinkService"):
                    said = await HealthStub(channel).Check(
                        HealthCheckRequest(service=name), timeout=5
                    )
                    assert said.status == HealthCheckResponse.SERVING
            roots = (tmp_path / "keys" / "roots.crt").read_bytes()
            bare = grpc.ssl_channel_credentials(roots)
            async with grpc.aio.secure_channel(gateway.address, bare) as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await HealthStub(channel).Check(HealthCheckRequest(), timeout=5)

    asyncio.run(story())
