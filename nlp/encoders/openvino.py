"""Encoders by OpenVINO, on Intel's processors: the transformers model itself, converted in memory."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor, nn

from jobs.errors import JobFailure

#: Batches computed at a time, each by a request of its own: one fills the gaps that another leaves.
REQUESTS = 2

_HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}
#: Rows and tokens of the example that is traced; every size may follow.
_EXAMPLE = (2, 16)


class OpenVinoEncoder:
    """A transformers encoder, converted. Safe to call from several threads."""

    def __init__(self, model: Any, dtype: torch.dtype, *, takes_types: bool) -> None:
        """Convert and compile.

        Args:
            model: in fp32, on the CPU.
            dtype: in which products are computed.
            takes_types: whether the types of tokens are among the inputs.

        Raises:
            JobFailure: ``engine_unsupported``, OpenVINO is not installed or does not take this model.
        """
        try:
            import openvino  # noqa: PLC0415  (an extra, and slow to import)
        except ImportError:
            raise JobFailure(
                "engine_unsupported",
                "OpenVINO is not installed here: pip install 'textmill-server[openvino]'.",
            ) from None
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if takes_types else [])]
        example = {name: torch.ones(_EXAMPLE, dtype=torch.long) for name in names}
        try:
            converted = _convert(_Outputs(model), example)
            facts = {
                "INFERENCE_PRECISION_HINT": _HINTS[dtype],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "NUM_STREAMS": 1,
            }
            compiled = openvino.Core().compile_model(converted, "CPU", facts)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = (str(error).splitlines() or [""])[0][:200]
            raise JobFailure(
                "engine_unsupported", f"OpenVINO does not take this model: {reason}"
            ) from error
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(REQUESTS):
            self._requests.put(compiled.create_infer_request())
        self._names = [put.get_any_name() for put in compiled.inputs]

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits ``[rows, classes]``, or last states ``[rows, tokens, size]`` of a model without a head."""
        filled = {"attention_mask": torch.ones_like(inputs["input_ids"]), **inputs}
        request = self._requests.get()
        try:
            request.infer({name: filled[name].numpy() for name in self._names})
            return torch.from_numpy(request.get_output_tensor(0).data.copy())
        finally:
            self._requests.put(request)


class _Outputs(nn.Module):
    """The one output that is wanted."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self._model(input_ids=input_ids, attention_mask=attention_mask, **types)
        output: Tensor = found.logits if "logits" in found else found.last_hidden_state
        return output


def _convert(module: nn.Module, example: Mapping[str, Tensor]) -> Any:
    """By the frontend itself: ``openvino.convert_model`` does the same, but reports to its makers."""
    from openvino.frontend import FrontEndManager  # noqa: PLC0415
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder  # noqa: PLC0415

    frontend = FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings(), torch.inference_mode(mode=False), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing, about branches that depend on the example
        decoder = TorchScriptPythonDecoder(module.eval(), example_input=dict(example))
        return frontend.convert(frontend.load(decoder))
