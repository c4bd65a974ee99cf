//! The routes of the API and their OpenAPI 3.1 description, from one list: they cannot drift apart.

use axum::Router;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::COOKIE;
use crate::dto::{AlarmChangeDto, FillDto, HealthDto, ReservationDto, TicketDto};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::routes::{
    alarms, assets, automation, catalogue, customers, devices, earlier, files, inbound, inbox,
    knowledge, kpis, models, notices, ops, parts, plan, records, registry, slots, supply,
    ticket_export, tickets, trace, units, work,
};
use crate::stream::{self, LaggedDto};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forecare",
        description = "Predictive maintenance: telemetry in, tickets with reserved parts out. Times are \
            RFC 3339 in UTC. Lists are read in pages: ask again with `next_cursor` until it is null. Errors \
            are problem details (RFC 9457). Every POST takes an `Idempotency-Key`.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Problem, AlarmChangeDto, TicketDto, ReservationDto, HealthDto, LaggedDto, FillDto)),
    security(("token" = []), ("session" = [])),
    tags(
        (name = "assets", description = "machines, their health, telemetry and events"),
        (name = "devices", description = "what reports for them"),
        (name = "alarms", description = "episodes and their reasons"),
        (name = "tickets", description = "work, and how it goes on"),
        (name = "parts", description = "stock, reservations, ledger"),
        (name = "registry", description = "master data: locations, customers, contracts, people, calendars, leads"),
        (name = "notices", description = "who was told what, and what customers answered"),
        (name = "knowledge", description = "articles: found, proposed, written from resolutions"),
        (name = "kpis", description = "what the service achieves, counted from what happened"),
        (name = "automation", description = "rules of automation and what they did"),
        (name = "models", description = "versions of models and their roles"),
        (name = "records", description = "verdicts and refused messages"),
        (name = "stream", description = "live events"),
        (name = "operation", description = "health, metrics, this description")
    )
)]
struct Description;

/// The API's routes with their description.
pub(crate) fn api() -> (Router<App>, utoipa::openapi::OpenApi) {
    let (router, mut description) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(catalogue::catalogue))
        .routes(routes!(devices::devices))
        .routes(routes!(devices::device))
        .routes(routes!(devices::latest))
        .routes(routes!(assets::assets, assets::register_assets))
        .routes(routes!(assets::asset))
        .routes(routes!(assets::telemetry))
        .routes(routes!(assets::events))
        .routes(routes!(assets::set_maintenance))
        .routes(routes!(alarms::alarms))
        .routes(routes!(alarms::acknowledge))
        .routes(routes!(tickets::tickets, tickets::open))
        .routes(routes!(ticket_export::export))
        .routes(routes!(tickets::ticket))
        .routes(routes!(tickets::transition))
        .routes(routes!(tickets::assign))
        .routes(routes!(slots::slots))
        .routes(routes!(earlier::earlier))
        .routes(routes!(plan::plan))
        .routes(routes!(work::entries))
        .routes(routes!(work::work))
        .routes(routes!(work::attach))
        .routes(routes!(work::attachment))
        .routes(routes!(trace::trace_of))
        .routes(routes!(inbound::email))
        .routes(routes!(inbound::raw_email))
        .routes(routes!(inbox::mails))
        .routes(routes!(inbox::mail))
        .routes(routes!(inbox::place))
        .routes(routes!(inbox::discard))
        .routes(routes!(parts::parts))
        .routes(routes!(parts::receipt))
        .routes(routes!(parts::movement))
        .routes(routes!(supply::put_purchase_order))
        .routes(routes!(supply::purchase_orders))
        .routes(routes!(supply::availability))
        .routes(routes!(supply::reorder_proposals))
        .routes(routes!(parts::reservations))
        .routes(routes!(parts::ledger))
        .routes(routes!(units::units))
        .routes(routes!(registry::record_changes))
        .routes(routes!(registry::records))
        .routes(routes!(
            registry::record,
            registry::put_record,
            registry::delete_record
        ))
        .routes(routes!(registry::record_history))
        .routes(routes!(registry::import_records))
        .routes(routes!(registry::export_records))
        .routes(routes!(registry::erase_person))
        .routes(routes!(files::put_document))
        .routes(routes!(files::files))
        .routes(routes!(files::file, files::remove_file))
        .routes(routes!(customers::customer_overview))
        .routes(routes!(notices::deliveries))
        .routes(routes!(notices::delivery))
        .routes(routes!(notices::retry))
        .routes(routes!(notices::surveys))
        .routes(routes!(knowledge::search))
        .routes(routes!(knowledge::for_ticket))
        .routes(routes!(knowledge::propose))
        .routes(routes!(kpis::kpis))
        .routes(routes!(kpis::figure_tickets))
        .routes(routes!(kpis::fault_pareto))
        .routes(routes!(automation::rules))
        .routes(routes!(models::models))
        .routes(routes!(records::labels))
        .routes(routes!(records::dead_letters))
        .routes(routes!(stream::stream))
        .routes(routes!(ops::openapi))
        .routes(routes!(ops::healthz))
        .routes(routes!(ops::readyz))
        .routes(routes!(ops::metrics))
        .split_for_parts();
    complete(&mut description);
    (router, description)
}

/// The OpenAPI 3.1 description of the API, as JSON.
#[must_use]
pub fn openapi_json() -> String {
    let (_, description) = api();
    description.to_pretty_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the API's description cannot be written");
        "{}".to_owned()
    })
}

/// What holds for every operation is said once.
fn complete(description: &mut utoipa::openapi::OpenApi) {
    let components = description.components.get_or_insert_default();
    components.add_security_scheme(
        "token",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
    );
    components.add_security_scheme(
        "session",
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
            COOKIE,
            "set by /login; a POST needs the header X-CSRF-Token as well",
        ))),
    );
    components.responses.insert(
        "Problem".to_owned(),
        ResponseBuilder::new()
            .description("what went wrong, as problem details (RFC 9457)")
            .content(
                PROBLEM_JSON,
                ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name(Problem::name())))
                    .build(),
            )
            .build()
            .into(),
    );
    let operations = description
        .paths
        .paths
        .values_mut()
        .flat_map(|item| {
            let all = [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.delete,
            ];
            all.map(Option::as_mut)
        })
        .flatten();
    for operation in operations {
        add_problem(operation);
    }
}

fn add_problem(operation: &mut Operation) {
    operation.responses.responses.insert(
        "default".to_owned(),
        RefOr::Ref(Ref::from_response_name("Problem")),
    );
}
