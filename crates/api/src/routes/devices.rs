//! Devices and their connections.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use forecare_domain::{AssetHealth, DeviceId, DeviceStatus};

use crate::app::{App, cut};
use crate::dto::{DeviceDto, LatestRowDto};
use crate::extract::{ApiPath, ApiQuery};
use crate::page::{List, Page, PageParams};
use crate::problem::Problem;

async fn known(
    app: &App,
) -> Result<
    (
        BTreeMap<DeviceId, DeviceStatus>,
        BTreeMap<DeviceId, AssetHealth>,
    ),
    Problem,
> {
    let store = &app.state.store;
    let statuses = store.statuses().await?;
    let health = store.health().await?;
    Ok((
        statuses
            .into_iter()
            .map(|s| (s.device.clone(), s))
            .collect(),
        health.into_iter().map(|h| (h.device.clone(), h)).collect(),
    ))
}

/// Devices, by id
#[utoipa::path(get, path = "/api/v1/devices", tag = "devices", params(PageParams),
    responses((status = 200, description = "a page of devices", body = Page<DeviceDto>)))]
pub(crate) async fn devices(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<DeviceDto>>, Problem> {
    let (statuses, health) = known(&app).await?;
    let mut assets = app.state.store.assets().await?;
    assets.sort_by(|a, b| a.device.cmp(&b.device));
    let page = page.cut(
        List::Devices,
        &assets,
        |a| a.device.as_str(),
        |a| DeviceDto::new(a, statuses.get(&a.device), health.get(&a.device)),
    )?;
    Ok(Json(page))
}

/// One device
#[utoipa::path(get, path = "/api/v1/devices/{id}", tag = "devices",
    params(("id" = String, Path, description = "the device's id")),
    responses((status = 200, description = "the device", body = DeviceDto)))]
pub(crate) async fn device(
    State(app): State<App>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<DeviceDto>, Problem> {
    let assets = app.state.store.assets().await?;
    let asset = assets
        .iter()
        .find(|a| a.device.as_str() == id)
        .ok_or_else(|| Problem::not_found(format_args!("device \"{}\"", cut(&id, 128))))?;
    let (statuses, health) = known(&app).await?;
    Ok(Json(DeviceDto::new(
        asset,
        statuses.get(&asset.device),
        health.get(&asset.device),
    )))
}

/// The newest readings of every device that has any, by device
#[utoipa::path(get, path = "/api/v1/telemetry/latest", tag = "devices", params(PageParams),
    responses((status = 200, description = "a page of newest readings", body = Page<LatestRowDto>)))]
pub(crate) async fn latest(
    State(app): State<App>,
    ApiQuery(page): ApiQuery<PageParams>,
) -> Result<Json<Page<LatestRowDto>>, Problem> {
    let rows = app.state.store.latest().await?;
    let page = page.cut(
        List::Latest,
        &rows,
        |r| r.device.as_str(),
        |r| LatestRowDto::from(r),
    )?;
    Ok(Json(page))
}
