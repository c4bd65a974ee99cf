//! Assets, their telemetry and events, and work on them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use forecare_domain::{Asset, AssetId, DepotName, DeviceId, MetricName, Timestamp};
use forecare_store::{Fill, MaintenanceWindow, TelemetryQuery};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::dto::{
    AssetDto, EventDto, FillDto, MaintenanceWindowDto, NewAssetDto, NewAssetsDto,
    NewMaintenanceWindowDto, RegisteredDto, TelemetryDto,
};
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

/// Assets registered by one request at most.
const REGISTER_MAX: usize = 1_000;
/// Longest name or site, characters.
const TEXT_CHARS_MAX: usize = 200;
/// Longest explanation, characters.
pub(crate) const WHY_CHARS_MAX: usize = 500;
/// Longest maintenance window, hours: a forgotten one must not silence an asset for good.
const WINDOW_HOURS_MAX: f64 = 24.0 * 30.0;
/// Buckets of telemetry where the caller does not say.
const POINTS_DEFAULT: u16 = 500;
/// Buckets of telemetry at most.
const POINTS_MAX: u16 = 5_000;
/// Metrics of one telemetry request at most.
const METRICS_MAX: usize = 64;

/// Assets with their health and number of open tickets, by id
#[utoipa::path(get, path = "/api/v1/assets", tag = "assets", params(PageParams),
    responses((status = 200, description = "a page of assets", body = Page<AssetDto>)))]
pub(crate) async fn assets(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<AssetDto>>, Problem> {
    let mut open: BTreeMap<AssetId, u64> = BTreeMap::new();
    for ticket in app.open_tickets(None).await? {
        *open.entry(ticket.asset).or_default() += 1;
    }
    let health = app.state.store.health().await?;
    let health: BTreeMap<_, _> = health.iter().map(|h| (&h.device, h)).collect();
    let assets = app.state.store.assets().await?;
    let page = page.cut(
        List::Assets,
        &assets,
        |a| a.id.as_str(),
        |a| {
            AssetDto::new(
                a,
                health.get(&a.device).copied(),
                open.get(&a.id).copied().unwrap_or(0),
            )
        },
    )?;
    Ok(Json(page))
}

/// One asset
#[utoipa::path(get, path = "/api/v1/assets/{id}", tag = "assets",
    params(("id" = String, Path, description = "the asset's id")),
    responses((status = 200, description = "the asset", body = AssetDto)))]
pub(crate) async fn asset(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<AssetDto>, Problem> {
    let asset = app.asset(&id).await?;
    let health = app.state.store.health_of(&asset.device).await?;
    let open = app.open_tickets(Some(&asset.id)).await?;
    Ok(Json(AssetDto::new(
        &asset,
        health.as_ref(),
        u64::try_from(open.len()).unwrap_or(u64::MAX),
    )))
}

/// Registers assets; those with a known id are replaced
///
/// All or nothing: where one is refused, none is stored.
#[utoipa::path(post, path = "/api/v1/assets", tag = "assets", request_body = NewAssetsDto,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key again gets the first answer again")),
    responses((status = 201, description = "stored", body = RegisteredDto)))]
pub(crate) async fn register_assets(
    State(app): State<App>,
    ApiJson(body): ApiJson<NewAssetsDto>,
) -> Result<(StatusCode, Json<RegisteredDto>), Problem> {
    let n = body.assets.len();
    if n == 0 || n > REGISTER_MAX {
        return Err(Problem::invalid(
            "assets",
            format!("give 1 to {REGISTER_MAX} assets"),
        ));
    }
    let now = app.state.clock.now();
    let assets = body
        .assets
        .into_iter()
        .enumerate()
        .map(|(i, asset)| checked(&app, i, asset, now))
        .collect::<Result<Vec<_>, _>>()?;
    app.state.desk.register_assets(assets).await?;
    let n_assets = u64::try_from(n).unwrap_or(u64::MAX);
    Ok((StatusCode::CREATED, Json(RegisteredDto { n_assets })))
}

fn checked(app: &App, i: usize, asset: NewAssetDto, now: Timestamp) -> Result<Asset, Problem> {
    let at = |field: &str| format!("assets[{i}].{field}");
    let catalogue = &app.state.catalogue;
    let id = AssetId::new(&asset.id).map_err(|e| Problem::invalid(&at("id"), e.to_string()))?;
    let device = DeviceId::new(asset.device_id.as_deref().unwrap_or(&asset.id))
        .map_err(|e| Problem::invalid(&at("device_id"), e.to_string()))?;
    let class = catalogue
        .classes
        .iter()
        .find(|c| c.name.as_str() == asset.class)
        .ok_or_else(|| {
            let known: Vec<&str> = catalogue.classes.iter().map(|c| c.name.as_str()).collect();
            Problem::invalid(
                &at("class"),
                format!("the catalogue has the classes {}", known.join(", ")),
            )
        })?;
    let depot = match &asset.depot {
        None => None,
        Some(name) => Some(
            depot(app, name).map_err(|problem| Problem::invalid(&at("depot"), problem.detail))?,
        ),
    };
    for (field, text) in [
        ("name", asset.name.as_deref()),
        ("site", Some(&*asset.site)),
    ] {
        if text.is_some_and(|t| t.chars().count() > TEXT_CHARS_MAX) {
            return Err(Problem::invalid(
                &at(field),
                format!("use at most {TEXT_CHARS_MAX} characters"),
            ));
        }
    }
    Ok(Asset {
        name: asset.name.unwrap_or(asset.id),
        id,
        device,
        class: class.name.clone(),
        site: asset.site,
        depot,
        registered_at: now,
    })
}

/// The depot of that name.
pub(crate) fn depot(app: &App, name: &str) -> Result<DepotName, Problem> {
    let depots = &app.state.catalogue.depots;
    depots
        .iter()
        .find(|d| d.name.as_str() == name)
        .map(|d| d.name.clone())
        .ok_or_else(|| {
            let known: Vec<&str> = depots.iter().map(|d| d.name.as_str()).collect();
            Problem::invalid(
                "depot",
                format!("the catalogue has the depots {}", known.join(", ")),
            )
        })
}

/// Sets a maintenance window: nothing is raised for the asset in it
#[utoipa::path(post, path = "/api/v1/assets/{id}/maintenance-windows", tag = "assets",
    request_body = NewMaintenanceWindowDto,
    params(
        ("id" = String, Path, description = "the asset's id"),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key again gets the first answer again")
    ),
    responses((status = 201, description = "set", body = MaintenanceWindowDto)))]
pub(crate) async fn set_maintenance(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
    ApiJson(body): ApiJson<NewMaintenanceWindowDto>,
) -> Result<(StatusCode, Json<MaintenanceWindowDto>), Problem> {
    let window = set_window(&app, &id, body).await?;
    Ok((StatusCode::CREATED, Json(window.into())))
}

pub(crate) async fn set_window(
    app: &App,
    id: &str,
    body: NewMaintenanceWindowDto,
) -> Result<MaintenanceWindow, Problem> {
    let asset = app.asset(id).await?;
    let hours = body.to.hours_since(body.from);
    if hours <= 0.0 || hours > WINDOW_HOURS_MAX {
        return Err(Problem::invalid(
            "to",
            "the end must be later than the begin, by at most 30 days",
        ));
    }
    if body.why.chars().count() > WHY_CHARS_MAX {
        return Err(Problem::invalid(
            "why",
            format!("use at most {WHY_CHARS_MAX} characters"),
        ));
    }
    let window = MaintenanceWindow {
        device: asset.device,
        from: body.from,
        to: body.to,
        why: body.why,
    };
    app.state.desk.set_maintenance(window.clone()).await?;
    Ok(window)
}

/// Which telemetry.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetryParams {
    /// Begin, inclusive; 24 hours before the end where not given.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// End, exclusive; just after the newest reading where not given.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Buckets of equal length, 1 to 5,000; 500 where not given.
    #[param(minimum = 1, maximum = 5000, default = 500)]
    points: Option<u16>,
    /// Metrics, comma-separated; `health` is one of them. All where not given.
    metrics: Option<String>,
    /// What stands in buckets without readings between others: `none` (they are left out), `previous` (the
    /// mean before the gap) or `linear` (a straight line across it). `none` where not given.
    #[serde(default)]
    #[param(default = "none")]
    fill: FillDto,
}

/// Telemetry of an asset, down-sampled
///
/// Without a range: the last 24 hours that have data.
#[utoipa::path(get, path = "/api/v1/assets/{id}/telemetry", tag = "assets",
    params(("id" = String, Path, description = "the asset's id"), TelemetryParams),
    responses((status = 200, description = "the series", body = TelemetryDto)))]
pub(crate) async fn telemetry(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<TelemetryParams>,
) -> Result<Json<TelemetryDto>, Problem> {
    let points = params.points.unwrap_or(POINTS_DEFAULT);
    if !(1..=POINTS_MAX).contains(&points) {
        return Err(Problem::bad_parameter(
            "points",
            format!("points must be 1 to {POINTS_MAX}"),
        ));
    }
    let metrics = params
        .metrics
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            MetricName::new(name).map_err(|e| Problem::bad_parameter("metrics", e.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    if metrics.len() > METRICS_MAX {
        return Err(Problem::bad_parameter(
            "metrics",
            format!("ask for at most {METRICS_MAX} metrics"),
        ));
    }
    let asset = app.asset(&id).await?;
    let store = &app.state.store;
    let to = match params.to {
        Some(to) => to,
        None => {
            let newest = store.newest_reading(&asset.device).await?;
            let newest = newest.unwrap_or_else(|| app.state.clock.now());
            // The end is exclusive, the newest reading is wanted.
            Timestamp::from_millis(newest.as_millis() + 1)
        }
    };
    let from = params.from.unwrap_or_else(|| to.plus_hours(-24.0));
    if from >= to {
        return Err(Problem::bad_parameter(
            "from",
            "from must be earlier than to",
        ));
    }
    let query = TelemetryQuery {
        device: asset.device.clone(),
        metrics,
        from,
        to,
        points: usize::from(points),
        fill: Fill::from(params.fill),
    };
    let series = store.telemetry(&query).await?;
    let class = app.state.catalogue.class(&asset.class);
    Ok(Json(TelemetryDto::new(&asset, class, &query, series)))
}

/// Events of an asset's device, newest first
#[utoipa::path(get, path = "/api/v1/assets/{id}/events", tag = "assets",
    params(("id" = String, Path, description = "the asset's id"), PageParams),
    responses((status = 200, description = "a page of events", body = Page<EventDto>)))]
pub(crate) async fn events(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<EventDto>>, Problem> {
    let request = page.request(List::Events)?;
    let asset = app.asset(&id).await?;
    let found = app.state.store.events(Some(&asset.device), request).await?;
    Ok(Json(Page::of(List::Events, request, found, EventDto::from)))
}
