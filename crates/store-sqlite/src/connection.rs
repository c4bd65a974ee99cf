//! One thread that writes, a few connections that read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use forecare_catalogue::Catalogue;
use forecare_store::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::fault::{Fault, Outcome};
use crate::ingest::Known;
use crate::layout::Layout;

/// Writes waiting for the writer before callers wait too.
const QUEUE_JOBS_MAX: usize = 64;
/// Reads at the same time.
const READERS: usize = 4;
/// Distinct statements kept prepared per connection.
const STATEMENTS_KEPT: usize = 128;
/// How long to wait for another process's lock, ms.
const BUSY_MS: u64 = 5_000;

/// How far a commit has got when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// On the disk: it survives a power cut. `synchronous=FULL`.
    #[default]
    PowerLoss,
    /// With the operating system: it survives the death of the process, not of the machine.
    /// `synchronous=NORMAL`.
    ProcessDeath,
}

pub(crate) fn open_for_writing(file: &Path, durability: Durability) -> Outcome<Connection> {
    let conn = Connection::open(file)?;
    set_up(&conn)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        Durability::ProcessDeath => "NORMAL",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Moves the log into the file every 16 MiB, and gives back what a burst has taken beyond 64 MiB.
    conn.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(conn)
}

pub(crate) fn open_for_reading(file: &Path) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    set_up(&conn)?;
    Ok(conn)
}

fn set_up(conn: &Connection) -> Outcome<()> {
    conn.busy_timeout(std::time::Duration::from_millis(BUSY_MS))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Per connection, KiB: bounds memory whatever the size of the file.
    conn.pragma_update(None, "cache_size", -16_384)?;
    Ok(())
}

/// What the writing thread owns.
pub(crate) struct Writer {
    pub(crate) conn: Connection,
    pub(crate) layout: Arc<Layout>,
    pub(crate) catalogue: Catalogue,
    pub(crate) known: Known,
}

impl Writer {
    /// Runs `work` in one transaction: whole, or not at all.
    pub(crate) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Layout, &Catalogue, &mut Known) -> Outcome<T>,
    ) -> Outcome<T> {
        let done = self.try_transaction(work);
        if done.is_err() {
            self.known.forget();
        }
        done
    }

    fn try_transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Layout, &Catalogue, &mut Known) -> Outcome<T>,
    ) -> Outcome<T> {
        // Immediate: waits for another process's lock here, not in the middle.
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&tx, &self.layout, &self.catalogue, &mut self.known)?;
        tx.commit()?;
        Ok(value)
    }
}

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// The handle on all connections of one database.
pub(crate) struct Pool {
    file: PathBuf,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<Writer>>>,
    layout: Arc<Layout>,
    permits: Arc<Semaphore>,
    readers: Arc<Mutex<Vec<Connection>>>,
}

impl Pool {
    pub(crate) fn start(file: PathBuf, mut writer: Writer) -> Result<Self, StoreError> {
        let readers: Outcome<Vec<Connection>> =
            (0..READERS).map(|_| open_for_reading(&file)).collect();
        let readers = readers.map_err(|f| f.at(&file, "opening the database for reading"))?;
        let layout = Arc::clone(&writer.layout);
        let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE_JOBS_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                while let Some(job) = jobs.blocking_recv() {
                    job(&mut writer);
                }
                writer
            })
            .map_err(|e| StoreError::Unavailable {
                what: "starting the writing thread".to_owned(),
                source: Some(Box::new(e)),
            })?;
        Ok(Self {
            file,
            jobs: Mutex::new(Some(sender)),
            thread: Mutex::new(Some(thread)),
            layout,
            permits: Arc::new(Semaphore::new(READERS)),
            readers: Arc::new(Mutex::new(readers)),
        })
    }

    fn closed(&self) -> StoreError {
        StoreError::Unavailable {
            what: format!("{} is closed", self.file.display()),
            source: None,
        }
    }

    /// Runs `work` on the writing thread; what is queued is done even if the caller stops waiting.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Writer) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let file = self.file.clone();
        let job: Job = Box::new(move |writer| {
            let done = work(writer).map_err(|fault| fault.at(&file, what));
            // Nobody waits any more where this fails.
            drop(reply.send(done));
        });
        let sender = self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let sender = sender.ok_or_else(|| self.closed())?;
        sender.send(job).await.ok().ok_or_else(|| self.closed())?;
        answer.await.ok().ok_or_else(|| self.closed())?
    }

    /// Runs `work` on a reading connection; it sees one state of the database throughout.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection, &Layout) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.ok().ok_or_else(|| self.closed())?;
        let (readers, layout, file) = (
            Arc::clone(&self.readers),
            Arc::clone(&self.layout),
            self.file.clone(),
        );
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let taken = readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut conn = match taken {
                Some(conn) => conn,
                // One was lost to a panic.
                None => open_for_reading(&file).map_err(|f| f.at(&file, what))?,
            };
            let done = snapshot(&mut conn, |conn| work(conn, &layout));
            readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(conn);
            done.map_err(|fault| fault.at(&file, what))
        });
        reading.await.map_err(|e| StoreError::Unavailable {
            what: what.to_owned(),
            source: Some(Box::new(e)),
        })?
    }

    /// Waits for the queued writes, and gives the writer back for the last steps.
    pub(crate) fn stop(&self) -> Option<Writer> {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.permits.close();
        self.readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        thread.and_then(|thread| thread.join().ok())
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }
}

fn snapshot<T>(conn: &mut Connection, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
    let tx = conn.transaction()?;
    let value = work(&tx)?;
    tx.finish().map_err(Fault::from)?;
    Ok(value)
}
