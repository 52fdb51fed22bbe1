"""`python -m gateway` is `radfed gateway`; its receivers begin here too, without the commands."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["intake-worker"]:
        from gateway.app.lean import receive

        receive(sys.argv[2:])
    else:
        from gateway.cli import gateway

        gateway(prog_name="python -m gateway")
