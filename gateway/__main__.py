"""`python -m gateway` is `radfed gateway`; its receivers and its picture maker begin here too."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["intake-worker"]:
        from gateway.app.lean import receive

        receive(sys.argv[2:])
    elif sys.argv[1:2] == ["picture-worker"]:
        from gateway.app.picture_worker import work

        work(sys.argv[2:])
    else:
        from gateway.cli import gateway

        gateway(prog_name="python -m gateway")
