//! Assets, credentials, settings, maintenance windows.

use deadpool_postgres::Transaction;
use forecare_domain::{Asset, AssetId, DeviceStatus, Timestamp};
use forecare_store::{Credential, MaintenanceWindow, StoreError};
use tokio_postgres::Row;

use crate::fault::Outcome;
use crate::instant::Instant;
use crate::layout::Layout;
use crate::query::{collect, execute};
use crate::text;

pub(crate) async fn is_known(tx: &Transaction<'_>, id: &AssetId) -> Outcome<bool> {
    let sql = "SELECT 1 FROM assets WHERE id = $1";
    Ok(!collect(tx, sql, &[&id.as_str()], |_| Ok(()))
        .await?
        .is_empty())
}

/// Whether `asset` can be registered; the inner error says why not.
pub(crate) async fn check(
    tx: &Transaction<'_>,
    layout: &Layout,
    asset: &Asset,
) -> Outcome<Result<(), StoreError>> {
    let class = layout
        .classes
        .iter()
        .find(|c| c.name == asset.class && c.catalogue_columns.is_some());
    let Some(class) = class else {
        let what = format!(
            "class {} of asset {} in the catalogue",
            asset.class, asset.id
        );
        return Ok(Err(StoreError::NotFound(what)));
    };
    let sql = "SELECT (SELECT id FROM assets WHERE device = $1 AND id <> $2), class_no, device_no
               FROM (SELECT) AS one LEFT JOIN devices ON name = $1";
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
        [&asset.device.as_str(), &asset.id.as_str()];
    let found = collect(tx, sql, &params, |r| {
        let device = r.try_get::<_, Option<i32>>(1)?.zip(r.try_get(2)?);
        Ok((r.try_get::<_, Option<String>>(0)?, device))
    })
    .await?;
    let Some((other, device)) = found.into_iter().next() else {
        return Ok(Ok(()));
    };
    if let Some(other) = other {
        return Ok(Err(StoreError::Conflict(format!(
            "device {} reports for asset {other} already",
            asset.device
        ))));
    }
    let Some((class_no, device_no)) = device.filter(|(class_no, _)| *class_no != class.class_no)
    else {
        return Ok(Ok(()));
    };
    let Some(before) = layout.class(class_no) else {
        return Ok(Ok(()));
    };
    let sql = format!(
        "SELECT 1 FROM {} WHERE device_no = $1 LIMIT 1",
        before.table()
    );
    let device_no: i32 = device_no;
    if !collect(tx, &sql, &[&device_no], |_| Ok(()))
        .await?
        .is_empty()
    {
        return Ok(Err(StoreError::Conflict(format!(
            "device {} has readings as a {}; give the {} another device id",
            asset.device, before.name, asset.class
        ))));
    }
    Ok(Ok(()))
}

/// Adds or replaces an asset that [`check`] has passed.
pub(crate) async fn put(tx: &Transaction<'_>, layout: &Layout, asset: &Asset) -> Outcome<()> {
    let class_no = layout
        .classes
        .iter()
        .find(|c| c.name == asset.class)
        .map(|c| c.class_no);
    // The asset refers to its device, which is checked when the statement has ended.
    execute(
        tx,
        "WITH device AS (
             INSERT INTO devices (name, class_no) VALUES ($2, $3)
             ON CONFLICT (name) DO UPDATE SET class_no = excluded.class_no
             WHERE devices.class_no <> excluded.class_no)
         INSERT INTO assets (id, device, class, name, site, depot, registered_at)
         VALUES ($1, $2, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO UPDATE SET device = excluded.device, class = excluded.class, name = excluded.name,
             site = excluded.site, depot = excluded.depot",
        &[
            &asset.id.as_str(),
            &asset.device.as_str(),
            &class_no,
            &asset.class.as_str(),
            &text::storable(&asset.name),
            &text::storable(&asset.site),
            &asset.depot.as_ref().map(|d| d.as_str()),
            &Instant(asset.registered_at),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn register_assets(
    tx: &Transaction<'_>,
    layout: &Layout,
    assets: &[Asset],
) -> Outcome<()> {
    for asset in assets {
        check(tx, layout, asset).await??;
        put(tx, layout, asset).await?;
    }
    Ok(())
}

const ASSET: &str = "SELECT id, device, class, name, site, depot, registered_at FROM assets";

fn read_asset(r: &Row) -> Outcome<Asset> {
    Ok(Asset {
        id: text::name(r, 0)?,
        device: text::name(r, 1)?,
        class: text::name(r, 2)?,
        name: r.try_get(3)?,
        site: r.try_get(4)?,
        depot: text::optional_name(r, 5)?,
        registered_at: text::time(r, 6)?,
    })
}

pub(crate) async fn assets(tx: &Transaction<'_>) -> Outcome<Vec<Asset>> {
    let sql = format!("{ASSET} ORDER BY id COLLATE \"C\"");
    collect(tx, &sql, &[], read_asset).await
}

pub(crate) async fn asset(tx: &Transaction<'_>, id: &AssetId) -> Outcome<Option<Asset>> {
    let sql = format!("{ASSET} WHERE id = $1");
    let found = collect(tx, &sql, &[&id.as_str()], read_asset).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn statuses(tx: &Transaction<'_>) -> Outcome<Vec<DeviceStatus>> {
    let sql = "SELECT device, online, at FROM statuses ORDER BY device COLLATE \"C\"";
    collect(tx, sql, &[], |r| {
        Ok(DeviceStatus {
            device: text::name(r, 0)?,
            online: r.try_get(1)?,
            at: text::time(r, 2)?,
        })
    })
    .await
}

pub(crate) async fn put_credential(tx: &Transaction<'_>, credential: &Credential) -> Outcome<()> {
    execute(
        tx,
        "INSERT INTO credentials (username, role, secret_sha256) VALUES ($1, $2, $3)
         ON CONFLICT (username) DO UPDATE SET role = excluded.role, secret_sha256 = excluded.secret_sha256",
        &[
            &text::storable(&credential.username),
            &text::role(credential.role),
            &text::storable(&credential.secret_sha256),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn credentials(tx: &Transaction<'_>) -> Outcome<Vec<Credential>> {
    let sql =
        "SELECT username, role, secret_sha256 FROM credentials ORDER BY username COLLATE \"C\"";
    collect(tx, sql, &[], |r| {
        Ok(Credential {
            username: r.try_get(0)?,
            role: text::to_role(r.try_get(1)?)?,
            secret_sha256: r.try_get(2)?,
        })
    })
    .await
}

pub(crate) async fn setting(tx: &Transaction<'_>, key: &str) -> Outcome<Option<String>> {
    let sql = "SELECT value FROM settings WHERE key = $1";
    let found = collect(tx, sql, &[&text::storable(key)], |r| Ok(r.try_get(0)?)).await?;
    Ok(found.into_iter().next())
}

pub(crate) async fn put_setting(tx: &Transaction<'_>, key: &str, value: &str) -> Outcome<()> {
    execute(
        tx,
        "INSERT INTO settings (key, value) VALUES ($1, $2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[&text::storable(key), &text::storable(value)],
    )
    .await?;
    Ok(())
}

pub(crate) async fn put_window(tx: &Transaction<'_>, window: &MaintenanceWindow) -> Outcome<()> {
    execute(
        tx,
        "INSERT INTO maintenance_windows (device, from_ts, to_ts, why) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        &[
            &window.device.as_str(),
            &Instant(window.from),
            &Instant(window.to),
            &text::storable(&window.why),
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn windows(
    tx: &Transaction<'_>,
    after: Timestamp,
) -> Outcome<Vec<MaintenanceWindow>> {
    let sql = "SELECT device, from_ts, to_ts, why FROM maintenance_windows WHERE to_ts > $1
               ORDER BY to_ts, from_ts, device COLLATE \"C\", why COLLATE \"C\"";
    collect(tx, sql, &[&Instant(after)], |r| {
        Ok(MaintenanceWindow {
            device: text::name(r, 0)?,
            from: text::time(r, 1)?,
            to: text::time(r, 2)?,
            why: r.try_get(3)?,
        })
    })
    .await
}
