//! Assets, credentials, settings, maintenance windows.

use forecare_domain::{Asset, AssetId, DeviceStatus, Timestamp};
use forecare_store::{Credential, MaintenanceWindow, StoreError};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::fault::Outcome;
use crate::layout::Layout;
use crate::query::collect;
use crate::text;

pub(crate) fn is_known(conn: &Connection, id: &AssetId) -> Outcome<bool> {
    let mut known = conn.prepare_cached("SELECT 1 FROM assets WHERE id = ?1")?;
    Ok(known.exists([id.as_str()])?)
}

/// Whether `asset` can be registered; the inner error says why not.
pub(crate) fn check(
    conn: &Connection,
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
    let other: Option<String> = conn
        .prepare_cached("SELECT id FROM assets WHERE device = ?1 AND id <> ?2")?
        .query_row([asset.device.as_str(), asset.id.as_str()], |r| r.get(0))
        .optional()?;
    if let Some(other) = other {
        return Ok(Err(StoreError::Conflict(format!(
            "device {} reports for asset {other} already",
            asset.device
        ))));
    }
    let device: Option<(i64, i64)> = conn
        .prepare_cached("SELECT device_no, class_no FROM devices WHERE name = ?1")?
        .query_row([asset.device.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()?;
    let Some((device_no, class_no)) = device.filter(|(_, class_no)| *class_no != class.class_no)
    else {
        return Ok(Ok(()));
    };
    let Some(before) = layout.class(class_no) else {
        return Ok(Ok(()));
    };
    let sql = format!(
        "SELECT 1 FROM {} WHERE device_no = ?1 LIMIT 1",
        before.table()
    );
    if conn.prepare_cached(&sql)?.exists([device_no])? {
        return Ok(Err(StoreError::Conflict(format!(
            "device {} has readings as a {}; give the {} another device id",
            asset.device, before.name, asset.class
        ))));
    }
    Ok(Ok(()))
}

/// Adds or replaces an asset that [`check`] has passed.
pub(crate) fn put(conn: &Connection, layout: &Layout, asset: &Asset) -> Outcome<()> {
    let class_no = layout
        .classes
        .iter()
        .find(|c| c.name == asset.class)
        .map(|c| c.class_no);
    conn.prepare_cached(
        "INSERT INTO devices (name, class_no) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET class_no = excluded.class_no",
    )?
    .execute(params![asset.device.as_str(), class_no])?;
    conn.prepare_cached(
        "INSERT INTO assets (id, device, class, name, site, depot, registered_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET device = excluded.device, class = excluded.class, name = excluded.name,
             site = excluded.site, depot = excluded.depot",
    )?
    .execute(params![
        asset.id.as_str(),
        asset.device.as_str(),
        asset.class.as_str(),
        asset.name,
        asset.site,
        asset.depot.as_ref().map(|d| d.as_str()),
        asset.registered_at.as_millis()
    ])?;
    Ok(())
}

pub(crate) fn register_assets(conn: &Connection, layout: &Layout, assets: &[Asset]) -> Outcome<()> {
    for asset in assets {
        check(conn, layout, asset)??;
        put(conn, layout, asset)?;
    }
    Ok(())
}

const ASSET: &str = "SELECT id, device, class, name, site, depot, registered_at FROM assets";

fn read_asset(r: &Row<'_>) -> Outcome<Asset> {
    Ok(Asset {
        id: text::name(r, 0)?,
        device: text::name(r, 1)?,
        class: text::name(r, 2)?,
        name: r.get(3)?,
        site: r.get(4)?,
        depot: text::optional_name(r, 5)?,
        registered_at: text::time(r, 6)?,
    })
}

pub(crate) fn assets(conn: &Connection) -> Outcome<Vec<Asset>> {
    collect(conn, &format!("{ASSET} ORDER BY id"), [], read_asset)
}

pub(crate) fn asset(conn: &Connection, id: &AssetId) -> Outcome<Option<Asset>> {
    let sql = format!("{ASSET} WHERE id = ?1");
    let found = collect(conn, &sql, [id.as_str()], read_asset)?;
    Ok(found.into_iter().next())
}

pub(crate) fn statuses(conn: &Connection) -> Outcome<Vec<DeviceStatus>> {
    collect(
        conn,
        "SELECT device, online, at FROM statuses ORDER BY device",
        [],
        |r| {
            Ok(DeviceStatus {
                device: text::name(r, 0)?,
                online: r.get(1)?,
                at: text::time(r, 2)?,
            })
        },
    )
}

pub(crate) fn put_credential(conn: &Connection, credential: &Credential) -> Outcome<()> {
    conn.execute(
        "INSERT OR REPLACE INTO credentials (username, role, secret_sha256) VALUES (?1, ?2, ?3)",
        params![
            credential.username,
            text::role(credential.role),
            credential.secret_sha256
        ],
    )?;
    Ok(())
}

pub(crate) fn credentials(conn: &Connection) -> Outcome<Vec<Credential>> {
    collect(
        conn,
        "SELECT username, role, secret_sha256 FROM credentials ORDER BY username",
        [],
        |r| {
            let role: String = r.get(1)?;
            Ok(Credential {
                username: r.get(0)?,
                role: text::to_role(&role)?,
                secret_sha256: r.get(2)?,
            })
        },
    )
}

pub(crate) fn setting(conn: &Connection, key: &str) -> Outcome<Option<String>> {
    let mut found = conn.prepare_cached("SELECT value FROM settings WHERE key = ?1")?;
    Ok(found.query_row([key], |r| r.get(0)).optional()?)
}

pub(crate) fn put_setting(conn: &Connection, key: &str, value: &str) -> Outcome<()> {
    conn.execute(
        "INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)",
        [key, value],
    )?;
    Ok(())
}

pub(crate) fn put_window(conn: &Connection, window: &MaintenanceWindow) -> Outcome<()> {
    conn.execute(
        "INSERT OR IGNORE INTO maintenance_windows (device, from_ts, to_ts, why) VALUES (?1, ?2, ?3, ?4)",
        params![window.device.as_str(), window.from.as_millis(), window.to.as_millis(), window.why],
    )?;
    Ok(())
}

pub(crate) fn windows(conn: &Connection, after: Timestamp) -> Outcome<Vec<MaintenanceWindow>> {
    let sql = "SELECT device, from_ts, to_ts, why FROM maintenance_windows WHERE to_ts > ?1
               ORDER BY to_ts, from_ts, device, why";
    collect(conn, sql, [after.as_millis()], |r| {
        Ok(MaintenanceWindow {
            device: text::name(r, 0)?,
            from: text::time(r, 1)?,
            to: text::time(r, 2)?,
            why: r.get(3)?,
        })
    })
}
