"""`python -m gateway` is `radfed gateway`."""

from gateway.cli import gateway

if __name__ == "__main__":
    gateway(prog_name="python -m gateway")
