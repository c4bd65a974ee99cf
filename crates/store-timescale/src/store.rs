//! The adapter: each call of the port is one transaction on a connection of the pool.

use std::sync::Arc;

use forecare_catalogue::Catalogue;
use forecare_domain::Timestamp;
use forecare_store::StoreError;

use crate::connection::{Pool, lock_start};
use crate::fault::{self, Outcome};
use crate::layout::Layout;
use crate::preflight::Server;
use crate::settings::TimescaleSettings;
use crate::{migrate, policies};

/// The port on TimescaleDB.
pub struct TimescaleStore {
    pub(crate) pool: Pool,
    pub(crate) layout: Layout,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) settings: TimescaleSettings,
}

impl std::fmt::Debug for TimescaleStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimescaleStore")
            .field("address", &self.pool.address())
            .field("schema", &self.settings.schema)
            .finish_non_exhaustive()
    }
}

impl TimescaleStore {
    /// Connects, brings the schema up to date, makes room for what is new in `catalogue`, and books its
    /// initial stock at `now`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for a server that cannot be reached or must not be used as it is set up,
    /// [`StoreError::Corrupt`] for a schema written by a newer version; the text says what to do.
    pub async fn open(
        settings: TimescaleSettings,
        catalogue: &Catalogue,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        settings.check()?;
        let pool = Pool::new(&settings)?;
        let layout = prepare(&pool, &settings, catalogue, now)
            .await
            .map_err(|fault| fault.at(pool.address(), "opening the database"))?;
        Ok(Self {
            pool,
            layout,
            catalogue: Arc::new(catalogue.clone()),
            settings,
        })
    }

    /// Whether waiting may cure an error of [`TimescaleStore::open`]: the server is away, starting, full or on
    /// its way to another host. False where somebody has to do what the error's text says.
    #[must_use]
    pub fn may_pass(error: &StoreError) -> bool {
        fault::may_pass(error)
    }

    /// Closes the connections; what runs is finished first by its caller. Calls after it fail.
    pub async fn close(&self) {
        self.pool.close();
    }
}

async fn prepare(
    pool: &Pool,
    settings: &TimescaleSettings,
    catalogue: &Catalogue,
    now: Timestamp,
) -> Outcome<Layout> {
    let mut session = pool.patient_session().await?;
    let server = Server::ask(&session).await?;
    server.check(settings.plain_postgres)?;
    let has_timescale = server.timescale.is_some() && !settings.plain_postgres;
    let tx = session.transaction().await?;
    lock_start(&tx, &settings.schema).await?;
    // IF NOT EXISTS would ask for the right to create one even where it is there.
    let is_there = tx
        .query_one(
            "SELECT to_regnamespace($1) IS NOT NULL",
            &[&settings.schema],
        )
        .await?;
    if !is_there.try_get::<_, bool>(0)? {
        tx.batch_execute(&format!("CREATE SCHEMA {}", settings.schema))
            .await?;
    }
    migrate::migrate(&tx, now).await?;
    let layout = Layout::ensure(&tx, catalogue, has_timescale).await?;
    if has_timescale {
        policies::ensure(&tx, &layout, settings, now).await?;
    }
    tx.commit().await?;
    Ok(layout)
}
