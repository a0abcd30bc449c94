import pickle
from functools import partial
from threading import Thread

import numpy as np
import pytest

from nucseg.errors import DeviceError, ModelError
from nucseg.inference.fallback import WithFallback


class Plain:
    """Doubles what it is given."""

    device, precision, threads = "cpu", "f32", 3

    def on_one_thread(self):
        return self

    def __call__(self, batch):
        if batch.ndim != 4:
            raise ModelError("cannot run on such a batch")
        return batch * 2


class Failing(Plain):
    device, precision = "cuda", "f32"
    calls = 0

    def __init__(self, after: int = 0) -> None:
        self.after = after

    def __call__(self, batch):
        self.calls += 1
        if self.calls > self.after:
            raise DeviceError("The device cuda failed.")
        return super().__call__(batch)


def load_nothing():
    raise DeviceError("The device cuda is gone.")


BATCH = np.ones((1, 2, 2, 3), np.float32)


def test_the_cpu_sees_the_batch_at_which_a_device_fails(caplog: pytest.LogCaptureFixture):
    run = WithFallback(partial(Failing, 1), Plain)
    for _ in range(3):
        np.testing.assert_array_equal(run(BATCH), BATCH * 2)
    assert run._first.calls == 2, "once it has failed it is left alone"
    assert (run.device, run.failure) == ("cpu", "The device cuda failed.")
    assert caplog.text.count("no image is lost") == 1


def test_threads_learn_of_a_failure_from_each_other(caplog: pytest.LogCaptureFixture):
    run = WithFallback(Failing, Plain)
    single = run.on_one_thread()
    results = []
    threads = [Thread(target=lambda: results.append(single(BATCH))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(results) == 8
    assert all(np.array_equal(each, BATCH * 2) for each in results)
    assert (run.device, single.device, run.threads) == ("cpu", "cpu", 3)
    assert caplog.text.count("no image is lost") == 1


def test_a_batch_that_the_cpu_cannot_take_is_no_failure_of_the_device():
    run = WithFallback(partial(Failing, 0), Plain)
    with pytest.raises(ModelError, match="such a batch"):
        run(BATCH[0])
    assert (run.device, run.failure) == ("cuda", None)


def test_sent_to_another_process(caplog: pytest.LogCaptureFixture):
    run = WithFallback(Failing, Plain)
    assert pickle.loads(pickle.dumps(run)).device == "cuda"
    run(BATCH)
    assert isinstance(pickle.loads(pickle.dumps(run)), Plain)
    gone = WithFallback(Failing, Plain)
    gone._load = load_nothing
    assert isinstance(pickle.loads(pickle.dumps(gone)), Plain)
    assert "The device cuda is gone. The CPU is used." in caplog.text


def test_a_device_that_cannot_load_the_network():
    with pytest.raises(DeviceError, match="is gone"):
        WithFallback(load_nothing, Plain)
