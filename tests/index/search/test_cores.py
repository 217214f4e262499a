"""Cores are shared by all searches: none has more than there are, and one that holds a core already waits for no other."""

import os
import subprocess
import sys
import threading

from index.search.cores import Cores


def test_who_holds_a_core_gets_more_without_waiting():
    cores = Cores(3)
    with cores.some() as one:
        with cores.some(2) as two:
            with cores.some(9) as all_of_them:
                assert (one, two, all_of_them) == (1, 2, 3)
            with cores.some() as none_more:
                assert none_more == 2
        with cores.some(9) as again:
            assert again == 3
    with cores.some(9) as free:
        assert free == 3


def test_together_they_never_hold_more_than_there_are():
    cores, counting, held, most = Cores(2), threading.Lock(), [0], [0]

    def search():
        for _ in range(300):
            with cores.some(), cores.some(2) as mine:
                with counting:
                    held[0] += mine
                    most[0] = max(most[0], held[0])
                with counting:
                    held[0] -= mine

    threads = [threading.Thread(target=search) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most[0] <= 2
    with cores.some(9) as free:
        assert free == 2


def test_a_job_gives_way():
    told = "import os; from index.search.cores import give_way; give_way(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(19, os.nice(0) + 10)
