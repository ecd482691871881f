"""The Open Inference Protocol over gRPC, with tritonclient's messages.

Not with its client: that has no way to set a tensor's parameters, nor to tell one kind of failure from another.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc import service_pb2_grpc

from perf_inference.engines.remote.tensors import BYTES, PACKED, TIMEOUT, Tensor, pack
from perf_inference.engines.remote.transport import (
    Address,
    Answer,
    Deadline,
    Description,
    RefusedError,
    UntrustedError,
)

try:
    from google.protobuf.unknown_fields import UnknownFieldSet as unknown_fields  # noqa: N813
except ImportError:  # protobuf 3, as tritonclient 2.40 wants it

    def unknown_fields(message: Any) -> Any:
        return message.UnknownFields()


_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", 1 << 30),
    ("grpc.use_local_subchannel_pool", 1),  # else engines of one server share a connection, and its back-off
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)
_LENGTH = struct.Struct("<I")  # before each element of a raw BYTES tensor
_ALL = "failed to connect to all addresses; last error: "
_MODEL_PARAMETERS = 6  # field of ModelMetadataResponse that the protocol has, but not Triton's version of it
_BROKEN = (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
_DISTRUST = ("TSI_PROTOCOL_FAILURE", "verification check failed")  # in gRPC's words for a server that is not trusted


class GrpcTransport:
    """A channel; one that failed is closed, and the next request opens another."""

    def __init__(self, address: Address, trust: bytes | None) -> None:
        """Open nothing yet.

        Args:
            trust: PEM of who may sign the server's certificate; None: those whom gRPC trusts by default.
        """
        self._address, self._trust = address, trust
        self._channel: Any = None
        self._packed = False

    def describe(self, deadline: Deadline) -> Description:
        named = {"name": self._address.model, "version": self._address.version}
        server = self._call("ServerMetadata", messages.ServerMetadataRequest(), deadline)
        model = self._call("ModelMetadata", messages.ModelMetadataRequest(**named), deadline)
        parameters = _model_parameters(model)
        if "model_configuration" in server.extensions:  # Triton's
            config = self._call("ModelConfig", messages.ModelConfigRequest(**named), deadline).config
            parameters |= {name: value.string_value for name, value in config.parameters.items()}
        self._packed = bool(parameters.get(PACKED))
        inputs, outputs = (
            [Tensor(said.name, said.datatype, tuple(said.shape), [], {}) for said in kind]
            for kind in (model.inputs, model.outputs)
        )
        return Description(model.name, inputs, outputs, parameters)

    def models(self, deadline: Deadline) -> list[str]:
        index = self._call("RepositoryIndex", messages.RepositoryIndexRequest(), deadline)
        return sorted({entry.name for entry in index.models})

    def ask(self, request_id: str, inputs: Sequence[Tensor], deadline: Deadline) -> Answer:
        tensors = [pack(tensor, text=False) for tensor in inputs] if self._packed else inputs
        timeout = {TIMEOUT: messages.InferParameter(int64_param=deadline.left_us())} if self._packed else {}
        request = messages.ModelInferRequest(
            model_name=self._address.model,
            model_version=self._address.version,
            id=request_id,
            parameters=timeout,
            inputs=[_input(tensor) for tensor in tensors],
            raw_input_contents=[_raw(tensor) for tensor in tensors],
        )
        answer = self._call("ModelInfer", request, deadline)
        return Answer(answer.id, answer.model_name, _outputs(answer), _parameters(answer.parameters))

    def interrupt(self) -> None:
        self.close()

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _call(self, method: str, request: Any, deadline: Deadline) -> Any:
        channel = self._channel
        if channel is None:
            channel = self._channel = self._open()
        call: Callable[..., Any] = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), method)
        try:
            return call(request, timeout=deadline.timeout_s())
        except grpc.RpcError as error:
            code, words = error.code(), str(error.details()).rpartition(_ALL)[2]
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                self.close()
                raise TimeoutError from error
            if "HTTP/2" in words:  # which did not come
                raise ValueError(f"an answer must be gRPC, got something else: {words}") from error
            if code in _BROKEN or words.startswith("Stream removed"):
                self.close()
                distrust = self._address.secure and any(sign in words for sign in _DISTRUST)
                raise (UntrustedError if distrust else ConnectionError)(words) from error
            raise RefusedError(f"gRPC {code.name}", words) from error
        except ValueError as error:  # of grpc, for a channel that was closed meanwhile
            raise ConnectionError("the connection was closed") from error

    def _open(self) -> Any:
        if not self._address.secure:
            return grpc.insecure_channel(self._address.netloc, options=_CHANNEL)
        return grpc.secure_channel(self._address.netloc, grpc.ssl_channel_credentials(self._trust), options=_CHANNEL)


def _input(tensor: Tensor) -> Any:
    parameters = {name: messages.InferParameter(string_param=text) for name, text in tensor.parameters.items()}
    return messages.ModelInferRequest.InferInputTensor(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, parameters=parameters
    )


def _raw(tensor: Tensor) -> bytes:
    if tensor.datatype != BYTES:
        return bytes(tensor.data)
    return b"".join(part for element in tensor.data for part in (_LENGTH.pack(len(element)), element))


def _outputs(answer: Any) -> list[Tensor]:
    """Return an answer's tensors; their data are raw all together, or each has its own typed list."""
    raw = answer.raw_output_contents
    if raw and len(raw) != len(answer.outputs):
        raise ValueError(f"{len(answer.outputs)} outputs must have as many raw contents, got {len(raw)}")
    tensors = []
    for index, said in enumerate(answer.outputs):
        if not raw:
            fields = said.contents.ListFields()
            data: Any = list(fields[0][1]) if fields else []
        elif said.datatype == BYTES:
            data = _elements(said.name, raw[index])
        else:
            data = bytearray(raw[index])  # the caller may write into what it gets
        tensors.append(Tensor(said.name, said.datatype, tuple(said.shape), data, _parameters(said.parameters)))
    return tensors


def _elements(name: str, raw: bytes) -> list[memoryview]:
    """Return the elements of a raw BYTES tensor."""
    elements = []
    rest = memoryview(raw)
    while rest:
        size = _LENGTH.unpack_from(rest)[0] if len(rest) >= _LENGTH.size else len(rest)
        element, rest = rest[_LENGTH.size :][:size], rest[_LENGTH.size + size :]
        if len(element) != size:
            raise ValueError(f"an element of '{name}' must be {size} bytes, got {len(element)}")
        elements.append(element)
    return elements


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("parameter_choice") or "bool_param") for name, value in given.items()}


def _model_parameters(model: Any) -> dict[str, Any]:
    """Return the parameters of a model's metadata."""
    entry = messages.ModelInferResponse.ParametersEntry  # what a map of parameters consists of, here as there
    found = [entry.FromString(field.data) for field in unknown_fields(model) if field.field_number == _MODEL_PARAMETERS]
    return _parameters({item.key: item.value for item in found})
