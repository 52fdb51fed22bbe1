from pathlib import Path

import pytest

from gateway.config import parse
from gateway.errors import ConfigurationFault

SMALLEST = 'site = "tongji"\ndata = "state"\n'


def test_relative_paths_are_relative_to_the_file():
    config = parse(SMALLEST, Path("/etc/radfed/gateway.toml"))

    assert config.data == Path("/etc/radfed/state")
    assert config.site_secret == Path("/etc/radfed/state/keys/site.secret")


def test_a_runtime_of_jobs_lies_where_the_file_says():
    text = SMALLEST + '[jobs.runtimes]\ntorch = "runtimes/torch"\nlifelines = "/opt/lifelines"\n'

    config = parse(text, Path("/etc/radfed/gateway.toml"))

    assert config.jobs.runtimes == {
        "torch": Path("/etc/radfed/runtimes/torch"),
        "lifelines": Path("/opt/lifelines"),
    }


def test_nobody_may_call_until_the_site_names_somebody():
    assert parse(SMALLEST, Path("gateway.toml")).intake.peers == ()


@pytest.mark.parametrize(
    ("text", "path_of_the_key"),
    [
        (SMALLEST + "colour = 1\n", "colour"),
        (SMALLEST + '[intake]\nae_titel = "X"\n', "intake.ae_titel"),
        (
            SMALLEST + '[[intake.peers]]\nname = "pacs"\nae_title = "P"\nspeed = 1\n',
            "intake.peers.0.speed",
        ),
        (SMALLEST + '[intake]\nae_title = "SEVENTEEN-LETTERS"\n', "intake.ae_title"),
        (SMALLEST + '[intake]\nae_title = "BACK\\\\SLASH"\n', "intake.ae_title"),
        (SMALLEST + "[intake]\nport = 70000\n", "intake.port"),
        (SMALLEST + "[disk]\nreserve_bytes = -1\n", "disk.reserve_bytes"),
        ('data = "x"\n', "site"),
        ('site = "Tongji Hospital"\ndata = "x"\n', "site"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(text, path_of_the_key):
    with pytest.raises(ConfigurationFault, match=path_of_the_key.replace(".", r"\.")):
        parse(text, Path("gateway.toml"))


def test_what_is_not_toml_is_said_so():
    with pytest.raises(ConfigurationFault, match="not TOML"):
        parse("site = ", Path("gateway.toml"))
