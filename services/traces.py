"""Spans of requests, told to OpenTelemetry; the library is imported only where traces are on.

The standard variables decide the rest: `OTEL_TRACES_EXPORTER` (otlp, console, none),
`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_PROPAGATORS`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from workgym.services.kernel import BadInput, Service

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_EXPORTERS = ("otlp", "console", "none")


class Traces:
    """The tracer of one application.

    Args:
        service: whose requests are traced; `OTEL_SERVICE_NAME` calls it otherwise.

    Attributes:
        provider: its; `provider.add_span_processor` lets others listen.

    Raises:
        BadInput: the library is not installed, or no exporter has the wanted name.
    """

    provider: TracerProvider

    def __init__(self, service: Service) -> None:
        try:
            from opentelemetry import propagate, trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
        except ImportError as error:
            raise BadInput(
                f"expected OpenTelemetry for WORKGYM_TRACES=on: {error}; pip install 'workgym[otel]'"
            ) from error
        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"workgym-{service.name}"}
        self.service = service.name
        self.provider = TracerProvider(resource=Resource.create(name))
        _export(self.provider, os.environ.get("OTEL_TRACES_EXPORTER"))
        self._tracer = self.provider.get_tracer("workgym.services")
        self._extract, self._trace = propagate.extract, trace

    @contextmanager
    def span(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A span around a request, below the one that its headers name."""
        span = self._tracer.start_span(
            method,
            context=self._extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "workgym.service": self.service},
        )
        with self._trace.use_span(span, end_on_exit=True):
            yield span

    def name(self, span: Span, operation: str, status: int, attributes: Mapping[str, str | None]) -> None:
        """Say what a request turned out to be.

        Args:
            span: the request's.
            operation: its operationId, or its method.
            status: of the answer; 0 for none.
            attributes: those that are None are left out.
        """
        if not span.is_recording():
            return
        span.update_name(operation)
        span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if status:
            span.set_attribute("http.response.status_code", status)
        if not 0 < status < 500:
            span.set_status(self._trace.StatusCode.ERROR)

    def close(self) -> None:
        """Hand over the spans that wait."""
        self.provider.shutdown()


def trace_id(span: Span | None) -> str | None:
    """The id under which a span is found, as 32 hexadecimal digits."""
    return None if span is None else f"{span.get_span_context().trace_id:032x}"


def _export(provider: TracerProvider, wanted: str | None) -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    if wanted is not None and wanted not in _EXPORTERS:
        raise BadInput(
            f"expected OTEL_TRACES_EXPORTER to be one of {', '.join(_EXPORTERS)}, found {wanted!r}"
        )
    if wanted == "none":
        return
    exporter: Any = None if wanted == "console" else _otlp(required=wanted == "otlp")
    provider.add_span_processor(BatchSpanProcessor(exporter or ConsoleSpanExporter()))


def _otlp(required: bool) -> Any:
    try:
        return import_module(_OTLP).OTLPSpanExporter()
    except ImportError as error:
        if required:
            raise BadInput(
                f"expected the OTLP exporter for OTEL_TRACES_EXPORTER=otlp, found none ({error}); "
                "pip install opentelemetry-exporter-otlp-proto-http"
            ) from error
        return None
