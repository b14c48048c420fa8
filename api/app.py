"""The HTTP application: routes under ``/v1`` behind a key, and what operators need beside them."""

from __future__ import annotations

from functools import partial

from fastapi import Depends, FastAPI

from api.authentication import AuthenticationGate, Authenticator, DevelopmentKey
from api.deps import Application, bearer
from api.limits import BodyLimit
from api.metrics import CountCache, Metrics, RequestTimer
from api.openapi import API_VERSION, DESCRIPTION, TITLE, describe
from api.problems import add_problem_handlers
from api.routes import accounts, notices, operation, payments, protection, supply_orders
from headend.bootstrap import Services
from headend.services.idempotency import Idempotency
from headend.services.supply_desk import SupplyDesk
from headend.services.supply_views import SupplyViews

_KEYED = (
    payments.router,
    accounts.router,
    supply_orders.router,
    supply_orders.stop_switch_router,
    protection.holds_router,
    protection.restraints_router,
    notices.notices_router,
    notices.cases_router,
)


def create_app(services: Services, *, api_key: str) -> FastAPI:
    """Return the application. Raises `ConfigurationError` for a key that is too short.

    It opens nothing and starts nothing: `api.server` listens.
    """
    return build_app(_application(services), DevelopmentKey(api_key))


def build_app(application: Application, authenticator: Authenticator) -> FastAPI:
    """Return the application for another way of signing in."""
    app = FastAPI(
        title=TITLE,
        version=API_VERSION,
        description=DESCRIPTION,
        docs_url=None,  # the framework's pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.application = application
    add_problem_handlers(app)
    for router in _KEYED:
        app.include_router(router, dependencies=[Depends(bearer)])
    app.include_router(operation.router)
    # The last added is the outermost: time everything, then see who asks, then take the body in.
    app.add_middleware(BodyLimit)
    app.add_middleware(AuthenticationGate, authenticator=authenticator)
    app.add_middleware(RequestTimer, metrics=application.metrics)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app


def _application(services: Services) -> Application:
    return Application(
        services=services,
        views=SupplyViews(services.store, services.clock, services.policies),
        desk=SupplyDesk(
            services.store, services.clock, services.supply_control, services.restraints
        ),
        idempotency=Idempotency(services.store),
        metrics=Metrics(services.pushes.counts),
        order_counts=CountCache(),
    )
