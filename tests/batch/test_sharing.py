import threading
import time
from concurrent.futures import ThreadPoolExecutor

from nucseg.batch.sharing import Budget, Shares


def test_pixels_in_work_stay_within_the_budget():
    budget, in_work, most = Budget(10), [], []
    lock = threading.Lock()

    def work(pixels: float) -> bool:
        with budget.take(pixels) as has_all:
            with lock:
                in_work.append(min(pixels, 10))
                most.append(sum(in_work))
            time.sleep(0.002)
            with lock:
                in_work.remove(min(pixels, 10))
        return has_all

    with ThreadPoolExecutor(8) as pool:
        alone = list(pool.map(work, [3, 4, float("inf"), 2, 2, 2, 2, 2, 10, 5, 5, 1]))
    assert max(most) == 10
    assert [place for place, each in enumerate(alone) if each] == [2, 8]


def test_shares_add_up_to_the_number_of_images():
    shares, told = Shares(), []

    def work(_image: int) -> None:
        take = shares.of_one(told.append)
        for step in range(7):
            take(step / 7)
        take(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(50)))
    assert shares.sum == 50
    assert max(told) == 50
    assert len(told) == 50 * 8
