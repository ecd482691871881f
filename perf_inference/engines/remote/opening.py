"""Reach a server for the first time."""

from __future__ import annotations

import ssl
import threading

from perf_inference.engines.remote.backoff import Backoff
from perf_inference.engines.remote.http import HttpTransport
from perf_inference.engines.remote.transport import (
    Address,
    Deadline,
    Description,
    RefusedError,
    Transport,
    UntrustedError,
)
from perf_inference.errors import ConfigError, EngineError
from perf_inference.printable import shown

_PATIENCE = 10  # deadlines that a server may take to be there


def transport_of(address: Address, certificates: str) -> Transport:
    """Return the transport of the address' scheme.

    Raises:
        ConfigError: `certificates` is no PEM file.
    """
    trust = trusted(certificates) if address.secure else None
    if address.scheme.startswith("http"):
        return HttpTransport(address, trust)
    from perf_inference.engines.remote.grpc import GrpcTransport  # gRPC starts threads when it is imported

    pem = None
    if trust is not None and certificates:
        with open(certificates, "rb") as file:
            pem = file.read()
    return GrpcTransport(address, pem)


def trusted(certificates: str) -> ssl.SSLContext:
    """Return a context that verifies a server, by the machine's own authorities if no file is given."""
    try:
        return ssl.create_default_context(cafile=certificates or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"certificates must be a PEM file of who signs the server's certificate, got '{certificates}': {error}"
        ) from error


def await_model(transport: Transport, address: Address, deadline_s: float) -> Description:
    """Return what the server says of the model; try until the patience ends, for a server may start after the robot.

    Raises:
        ConfigError: the server has no such model, is not trusted, or none of this protocol.
        EngineError: it did not answer; it may later.
    """
    patience = Deadline(_PATIENCE * deadline_s)
    pause_s = Backoff.FIRST_NS / 1e9
    last: Exception = TimeoutError()
    while patience.left_s():
        try:
            return transport.describe(Deadline(deadline_s))
        except UntrustedError as error:
            raise ConfigError(f"'{address.url}' is not to be trusted: {words(error)}; see certificates") from error
        except ValueError as error:
            raise ConfigError(f"'{address.url}' is no server of the Open Inference Protocol: {shown(error)}") from error
        except RefusedError as error:
            last = error
            _check_model(transport, address, deadline_s, error)
        except OSError as error:
            last = error
        transport.close()
        threading.Event().wait(min(pause_s, patience.left_s()))
        pause_s = min(2 * pause_s, Backoff.LONGEST_NS / 1e9)
    unready = f"'{address.url}' was not ready within {patience.after_s:g} s"
    if isinstance(last, RefusedError):
        raise ConfigError(f"{unready}: {shown(last)}; correct the model or its version") from last
    why = words(last) if isinstance(last, OSError) else shown(last)
    raise EngineError(f"{unready}: {why}; start its server, or correct the address") from last


def words(error: OSError) -> str:
    """Return what went wrong with a connection."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer before the deadline"
    return shown(error.strerror or error) or type(error).__name__


def _check_model(transport: Transport, address: Address, deadline_s: float, why: Exception) -> None:
    """Raise ConfigError if the server says what it has, and the model is not among it; else it may be loading."""
    try:
        there = transport.models(Deadline(deadline_s))
    except (RefusedError, ValueError, OSError):
        return
    if address.model not in there:
        raise ConfigError(
            f"'{address.url}' has no model '{address.model}', only {shown(', '.join(there)) or 'none'}: {shown(why)}"
        )
