"""A step by several processes of a machine: `python -m histogenesis.core.launch COUNT SCRIPT ...`

One for each GPU, or some on a CPU. They find one another by the variables of PyTorch's own launcher, torchrun, which is not
used: it ends at the signal by which SLURM warns a job, and kills what has not saved its state half a minute after SIGTERM.
Here each signal is passed on, and what it asked to stop is waited for. The script's imports are made once, before the
processes part.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import sys
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from histogenesis.core.interrupt import EXIT_CODE, StopRequest, continuation

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
GRACE_S = 5.0  # for what the others have to say of an error, before they are killed: they would wait for it for ever


def launch(count: int, script: str) -> int:
    """Run the script as `count` processes with the arguments in sys.argv; gives the exit code: of the first that fails, 75
    where they stopped.

    Where one fails, the others are killed soon; where one stops by request (75), they are waited for.
    """
    runpy.run_path(script, run_name="imported")
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # what comes before all is in place comes after
    port = str(free_port())
    # Elsewhere than on Linux PyTorch does not bear a fork: there each process imports for itself.
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing.get_context("spawn")
    processes: list[BaseProcess] = [
        context.Process(target=_run, args=(script, rank, count, port)) for rank in range(count)
    ]
    for process in processes:
        process.start()

    def pass_on(number, frame):
        StopRequest.came = number
        for process in processes:
            if process.is_alive():
                process_id = process.pid
                assert process_id is not None
                os.kill(process_id, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = _exit_code(processes)
    if code == EXIT_CODE:
        print(f"all {count} processes have stopped; {continuation()}", file=sys.stderr, flush=True)
    return code


def _exit_code(processes: list[BaseProcess]) -> int:
    codes: list[int] = []
    left, timeout = processes, None
    while left:
        wait([process.sentinel for process in left], timeout)
        found = [(process, process.exitcode) for process in left]  # asked once: it may end between two questions
        ended = [code for _, code in found if code is not None]
        left = [process for process, code in found if code is None]
        codes += ended
        if any(code not in (0, EXIT_CODE) for code in codes):
            timeout = GRACE_S
            if not ended:
                for process in left:
                    process.kill()
    code = next((code for code in codes if code not in (0, EXIT_CODE)), max(codes))
    return code if code >= 0 else 128 - code


def _run(script: str, rank: int, count: int, port: str) -> None:
    """What a process does: the script, as if it had been started alone."""
    for number in PASSED_ON:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    of_all = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in {**of_all, "RANK": rank, "LOCAL_RANK": rank}.items()}
    runpy.run_path(script, run_name="__main__")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    processes = int(sys.argv.pop(0))
    sys.exit(launch(processes, sys.argv[0]))
