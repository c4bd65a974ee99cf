//! The state behind every handler.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::StatusCode;
use forecare_domain::{Actor, Asset, AssetId, Channel, TicketId};
use forecare_store::{AlarmFilter, StoreError, TicketFilter, newest};
use tokio::sync::{Semaphore, watch};

use crate::idempotency::Replays;
use crate::outcomes::{Outcomes, Registry};
use crate::problem::Problem;
use crate::rate::Rate;
use crate::recent::Recent;
use crate::routes::knowledge::{Helped, OpenArticles};
use crate::state::{ApiState, Role};
use crate::stream::READERS_MAX;

/// Entries of a list that is needed whole, at most: beyond, the newest count.
pub(crate) const WHOLE_MAX: usize = 10_000;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) state: ApiState,
    pub(crate) replays: Arc<Replays>,
    pub(crate) stream_places: Arc<Semaphore>,
    /// True once the process shuts down: streams end, so that connections can.
    pub(crate) closing: watch::Receiver<bool>,
    /// What figures were last counted from.
    pub(crate) outcomes: Arc<Recent<Outcomes>>,
    /// Master data that tickets are searched by.
    pub(crate) registry: Arc<Recent<Registry>>,
    /// The customer's page is open to everyone.
    pub(crate) public: Arc<Rate>,
    /// How often articles helped, read now and then.
    pub(crate) helped: Arc<Recent<Helped>>,
    /// The articles that customers may read, read now and then.
    pub(crate) open_articles: Arc<Recent<OpenArticles>>,
    /// How much of the open articles is served.
    pub(crate) help: Arc<Rate>,
    /// Files that are handed to everybody at once.
    pub(crate) file_places: Arc<Semaphore>,
    forms: Arc<Forms>,
}

/// Numbers the forms given out.
struct Forms {
    /// Differs from process to process, so that no number comes twice.
    process: u64,
    given: AtomicU64,
}

/// Files handed to everybody at once: with 10 MiB each a bound on memory.
const FILES_AT_ONCE: usize = 16;

impl App {
    pub(crate) fn new(state: ApiState, closing: watch::Receiver<bool>) -> Self {
        Self {
            state,
            replays: Arc::default(),
            stream_places: Arc::new(Semaphore::new(READERS_MAX)),
            closing,
            outcomes: Arc::default(),
            registry: Arc::default(),
            public: Arc::new(Rate::new()),
            help: Arc::new(Rate::new()),
            file_places: Arc::new(Semaphore::new(FILES_AT_ONCE)),
            helped: Arc::default(),
            open_articles: Arc::default(),
            forms: Arc::new(Forms {
                process: RandomState::new().hash_one(()),
                given: AtomicU64::new(0),
            }),
        }
    }

    /// An idempotency key for a form: sent twice, it counts once.
    pub(crate) fn form_key(&self) -> String {
        let n = self.forms.given.fetch_add(1, Ordering::Relaxed);
        format!("console-{:016x}-{n}", self.forms.process)
    }

    /// The asset of that id.
    pub(crate) async fn asset(&self, id: &str) -> Result<Asset, Problem> {
        let missing = || Problem::not_found(format_args!("asset \"{}\"", cut(id, 128)));
        let id = AssetId::new(id).map_err(|_invalid| missing())?;
        self.state.store.asset(&id).await?.ok_or_else(missing)
    }

    /// Every open ticket, of one asset or all.
    pub(crate) async fn open_tickets(
        &self,
        asset: Option<&AssetId>,
    ) -> Result<Vec<forecare_domain::Ticket>, StoreError> {
        let filter = TicketFilter {
            asset: asset.cloned(),
            open: Some(true),
            ..TicketFilter::default()
        };
        newest(WHOLE_MAX, |page| self.state.store.tickets(&filter, page)).await
    }

    /// Every active alarm.
    pub(crate) async fn active_alarms(&self) -> Result<Vec<forecare_domain::Alarm>, StoreError> {
        let filter = AlarmFilter {
            device: None,
            active: Some(true),
        };
        newest(WHOLE_MAX, |page| self.state.store.alarms(&filter, page)).await
    }
}

/// A ticket's number from `7` or `T-7`.
pub(crate) fn ticket_id(text: &str) -> Result<TicketId, Problem> {
    text.strip_prefix("T-")
        .unwrap_or(text)
        .parse()
        .map(TicketId)
        .map_err(|_no_number: std::num::ParseIntError| {
            Problem::not_found(format_args!("ticket \"{}\"", cut(text, 128)))
        })
}

/// The first `n` characters, for echoing what someone sent.
pub(crate) fn cut(text: &str, n: usize) -> String {
    text.chars().take(n).collect()
}

/// Who is behind a request, once let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name of the token's owner.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
    /// Bearer token: the API; cookie: the console.
    pub(crate) channel: Channel,
    /// What a form of the console must carry to be believed.
    pub(crate) csrf: String,
}

impl Caller {
    /// Whether what concerns people is theirs to know: addresses, what customers and technicians write, files, drafts.
    /// Those who only read get on without.
    pub(crate) fn needs_to_know(&self) -> bool {
        self.role == Role::Operator
    }

    /// Refuses who does not need to know; `what`: as in "notes and files".
    pub(crate) fn must_need_to_know(&self, what: &str) -> Result<(), Problem> {
        if self.needs_to_know() {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("{what} are for those who work on tickets; ask for a token of an operator"),
        ))
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: self.name.clone(),
            channel: self.channel,
        }
    }
}
