"""The OpenVINO runtime: the CPU, without torch and without a compiler at run time."""

from collections import deque
from queue import Empty, SimpleQueue

import numpy as np
import openvino

from ..bundle import Bundle
from ..encoder import Precision, RuntimeUnavailable

# Requests for each that runs: when one is done, the next one waits inside OpenVINO already. Python may be busy decoding then,
# and would begin it late: a batch beside two threads that decode takes 6 to 14 % less time.
_QUEUED = 2


class OpenVinoEncoder:
    """See ``model.encoder.Encoder``. A pool of inference requests is shared by all callers: one image a request."""

    runtime = "openvino"

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        if not bundle.openvino.is_file():
            raise RuntimeUnavailable(f"{bundle.path} has no OpenVINO form. Use --runtime torch, or make the bundle again.")
        self.fingerprint = bundle.fingerprint
        self.dim = bundle.manifest.architecture.dim
        self.transform = bundle.manifest.transform
        self.precision = precision
        # The precision is set explicitly: left alone, OpenVINO takes bf16 wherever the processor has it.
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(bundle.openvino, "CPU", options)
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(_QUEUED * compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
            self._idle.put(compiled.create_infer_request())

    def encode(self, images: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(images), self.dim), np.float32)
        running: deque[tuple[int, openvino.InferRequest]] = deque()
        try:
            for row, image in enumerate(images):
                request = self._next_idle(running, vectors)
                running.append((row, request))
                request.start_async({0: np.ascontiguousarray(image[None])})
        finally:
            while running:
                self._collect(running, vectors)
        return vectors

    def _next_idle(self, running: deque[tuple[int, openvino.InferRequest]], vectors: np.ndarray) -> openvino.InferRequest:
        """An idle request; a caller that holds some finishes its own first, so that callers cannot wait in a circle."""
        while running:
            try:
                return self._idle.get_nowait()
            except Empty:
                self._collect(running, vectors)
        return self._idle.get()

    def _collect(self, running: deque[tuple[int, openvino.InferRequest]], vectors: np.ndarray) -> None:
        row, request = running.popleft()
        try:
            request.wait()
            vectors[row] = request.get_output_tensor(0).data[0]
        finally:
            self._idle.put(request)
