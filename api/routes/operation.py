"""For operators and orchestrators: is it alive, is it ready, its figures, its documentation."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import App
from api.docs_page import render_docs
from api.routes.errors import open_errors
from api.schemas.operation import HealthOut

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Is the process alive")
async def get_health() -> HealthOut:
    """Answer without touching anything else."""
    return HealthOut(status="alive")


@router.get("/readyz", responses=open_errors(503), summary="Can the process work")
async def get_readiness(app: App) -> HealthOut:
    """Answer 200 when the database answers, 503 otherwise."""
    await app.views.stop_switch()
    return HealthOut(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **open_errors(503)},
    summary="Figures for Prometheus",
)
async def get_metrics(app: App) -> Response:
    """Show requests by route, payments posted and pushes heard by this process, and orders."""
    counts = app.order_counts.get()
    if counts is None:
        counts = await app.views.count_orders()
        app.order_counts.put(counts)
    return Response(app.metrics.render(counts), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def get_docs(request: Request) -> HTMLResponse:
    """Show the specification to people, without loading anything from elsewhere."""
    return HTMLResponse(
        render_docs(request.app.openapi()),
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )
