//! The stored history of all devices, read in stretches of bounded size.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use anyhow::Result;
use forecare_catalogue::Catalogue;
use forecare_domain::{Asset, DeviceEvent, DeviceId, Label, Row, Timestamp};
use forecare_store::{MaintenanceWindow, Store, StoreError, every};
use tokio::runtime::Handle;

/// Rows of all devices together that are read at once, about, and at the least and at the most of one device: some are
/// played, as many are read meanwhile.
const ROWS_HELD: usize = 128_000;
const ROWS_OF_DEVICE: (usize, usize) = (64, 20_000);
/// Rows of all devices together that are scored ahead, about, and at the least of one device: after a verdict those of
/// its device are scored again, and those of the next piece for nothing. Enough that starting threads and keeping states to
/// go back to costs little beside it.
const ROWS_AHEAD: usize = 2_000;
const ROWS_AHEAD_OF_DEVICE: usize = 20;

/// What is read once: everything but the rows.
pub(crate) struct Records {
    /// The assets whose class is in the catalogue, by device.
    pub(crate) assets: Vec<Asset>,
    /// Events of each asset's device before the end, by time.
    pub(crate) events: Vec<Vec<DeviceEvent>>,
    /// Maintenance windows of each asset's device.
    pub(crate) windows: Vec<Vec<MaintenanceWindow>>,
    /// All verdicts.
    pub(crate) labels: Vec<Label>,
}

impl Records {
    /// Reads them.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn read(
        store: &dyn Store,
        catalogue: &Catalogue,
        to: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut assets = store.assets().await?;
        assets.retain(|asset| catalogue.class(&asset.class).is_some());
        assets.sort_by(|a, b| a.device.cmp(&b.device));
        let places: BTreeMap<DeviceId, usize> = assets
            .iter()
            .enumerate()
            .map(|(place, asset)| (asset.device.clone(), place))
            .collect();
        let mut events = vec![Vec::new(); assets.len()];
        for event in every(|page| store.events(None, page)).await? {
            if let Some(place) = places.get(&event.device)
                && event.ts < to
            {
                events[*place].push(event);
            }
        }
        for of_device in &mut events {
            // Newest first, as read; at one instant the order of arrival counts.
            of_device.reverse();
            of_device.sort_by_key(|e| e.ts);
        }
        let labels = every(|page| store.labels(page)).await?;
        let mut windows = vec![Vec::new(); assets.len()];
        for window in store.maintenance_windows(Timestamp::MIN).await? {
            if let Some(place) = places.get(&window.device) {
                windows[*place].push(window);
            }
        }
        Ok(Self {
            assets,
            events,
            windows,
            labels,
        })
    }
}

/// One device's rows: what is read and not yet played.
struct Tape {
    device: DeviceId,
    rows: VecDeque<Row>,
    read_to: Option<Timestamp>,
    at_end: bool,
}

/// The rows of all devices, played in stretches: each holds every row of every device up to its end.
pub(crate) struct Tapes {
    store: Arc<dyn Store>,
    tapes: Vec<Tape>,
    to: Timestamp,
    rows_at_once: usize,
}

/// A stretch of history, as it is read.
pub(crate) struct Stretch {
    /// Its last instant.
    pub(crate) end: Timestamp,
    /// The rows of each device, by time.
    pub(crate) rows: Vec<Vec<Row>>,
    /// True when no row is left.
    pub(crate) is_last: bool,
}

/// Part of a stretch, as it is played.
pub(crate) struct Piece {
    stretch: Arc<Stretch>,
    /// Its last instant.
    pub(crate) end: Timestamp,
    /// Which rows of each device.
    places: Vec<Range<usize>>,
}

impl Piece {
    /// The rows of a device, by time.
    pub(crate) fn rows(&self, device: usize) -> &[Row] {
        &self.stretch.rows[device][self.places[device].clone()]
    }

    /// Number of rows of all devices.
    pub(crate) fn n_rows(&self) -> u64 {
        self.places.iter().map(|place| place.len() as u64).sum()
    }
}

impl Stretch {
    /// The stretch in pieces of at most so many rows of a device, in order; rows of one instant stay together.
    pub(crate) fn pieces(self: Arc<Self>) -> impl Iterator<Item = Piece> {
        let share = ROWS_AHEAD / self.rows.len().max(1);
        let at_most = share.max(ROWS_AHEAD_OF_DEVICE);
        // Pieces of one size: a short one costs nearly as much as a long one.
        let longest = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let n_pieces = longest.div_ceil(at_most).max(1);
        let rows_at_once = longest.div_ceil(n_pieces).max(1);
        let mut played = vec![0; self.rows.len()];
        let mut at_end = false;
        std::iter::from_fn(move || {
            if at_end {
                return None;
            }
            let left = self.rows.iter().zip(&played);
            let left = left.map(|(rows, n_played)| &rows[*n_played..]);
            let longer = left.filter(|rows| rows.len() > rows_at_once);
            let cut = longer.map(|rows| rows[rows_at_once - 1].ts).min();
            at_end = cut.is_none();
            let end = cut.unwrap_or(self.end);
            let places = self.rows.iter().zip(&mut played).map(|(rows, n_played)| {
                let from = *n_played;
                *n_played += rows[from..].partition_point(|row| row.ts <= end);
                from..*n_played
            });
            Some(Piece {
                stretch: Arc::clone(&self),
                end,
                places: places.collect(),
            })
        })
    }
}

impl Tapes {
    /// Rows of `assets` later than `after` and before `to`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        assets: &[Asset],
        after: Option<Timestamp>,
        to: Timestamp,
        rows_held: Option<usize>,
    ) -> Self {
        let share = rows_held.unwrap_or(ROWS_HELD) / assets.len().max(1);
        let least = if rows_held.is_some() {
            1
        } else {
            ROWS_OF_DEVICE.0
        };
        let tapes = assets.iter().map(|asset| Tape {
            device: asset.device.clone(),
            rows: VecDeque::new(),
            read_to: after,
            at_end: false,
        });
        Self {
            store,
            tapes: tapes.collect(),
            to,
            rows_at_once: share.clamp(least, ROWS_OF_DEVICE.1),
        }
    }

    /// The next stretch. Reads on `n_threads` threads.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) fn next(
        &mut self,
        runtime: &Handle,
        n_threads: usize,
    ) -> Result<Stretch, StoreError> {
        let (store, to, limit) = (&self.store, self.to, self.rows_at_once);
        in_parallel(&mut self.tapes, n_threads, |tape| {
            tape.read(store.as_ref(), runtime, to, limit)
        })
        .into_iter()
        .collect::<Result<(), _>>()?;
        let open = self.tapes.iter().filter(|tape| !tape.at_end);
        let end = open.filter_map(|tape| tape.read_to).min();
        let is_last = end.is_none();
        let end = end.unwrap_or(self.to).min(self.to);
        let rows = self.tapes.iter_mut().map(|tape| {
            let n = tape.rows.partition_point(|row| row.ts <= end);
            tape.rows.drain(..n).collect()
        });
        Ok(Stretch {
            end,
            rows: rows.collect(),
            is_last,
        })
    }
}

impl Tape {
    fn read(
        &mut self,
        store: &dyn Store,
        runtime: &Handle,
        to: Timestamp,
        limit: usize,
    ) -> Result<(), StoreError> {
        if self.at_end || self.rows.len() > limit / 2 {
            return Ok(());
        }
        let rows = runtime.block_on(store.rows_after(&self.device, self.read_to, limit))?;
        self.at_end = rows.len() < limit;
        self.read_to = rows.last().map(|row| row.ts).or(self.read_to);
        for row in rows {
            if row.ts >= to {
                self.at_end = true;
                break;
            }
            self.rows.push_back(row);
        }
        Ok(())
    }
}

/// Does `work` on every item, on so many threads; results in the items' order.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: &mut [T],
    n_threads: usize,
    work: impl Fn(&mut T) -> R + Sync,
) -> Vec<R> {
    in_parallel_beside(items, n_threads, work, || ()).0
}

/// The same, while this thread does something `else_`.
pub(crate) fn in_parallel_beside<T: Send, R: Send, S>(
    items: &mut [T],
    n_threads: usize,
    work: impl Fn(&mut T) -> R + Sync,
    else_: impl FnOnce() -> S,
) -> (Vec<R>, S) {
    // Small shares, dealt out as threads get free: devices differ in length.
    let share = items.len().div_ceil(n_threads.max(1) * 8).max(1);
    let shares: Vec<(usize, &mut [T])> = items.chunks_mut(share).enumerate().collect();
    let queue = Mutex::new(shares);
    let done = Mutex::new(Vec::new());
    let beside = std::thread::scope(|scope| {
        for _ in 0..n_threads.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((place, items)) = next else { return };
                    let results: Vec<R> = items.iter_mut().map(&work).collect();
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((place, results));
                }
            });
        }
        else_()
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    (
        done.into_iter().flat_map(|(_, results)| results).collect(),
        beside,
    )
}

/// Calls `play` with each piece of history in order, and the one after it. While pieces are played the next stretch is
/// read.
///
/// # Errors
/// The store does not answer; those of `play`.
pub(crate) fn each_piece(
    mut tapes: Tapes,
    runtime: &Handle,
    n_threads: usize,
    mut play: impl FnMut(&Piece, Option<&Piece>) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        // One stretch is played, one is read.
        let (reader, stretches) = mpsc::sync_channel(0);
        scope.spawn(move || {
            loop {
                let stretch = tapes.next(runtime, n_threads);
                let is_last = stretch.as_ref().map_or(true, |stretch| stretch.is_last);
                if reader.send(stretch).is_err() || is_last {
                    return;
                }
            }
        });
        let mut pieces = stretches.into_iter().flat_map(|stretch| {
            let (stretch, failure) = match stretch {
                Ok(stretch) => (Some(Arc::new(stretch)), None),
                Err(failure) => (None, Some(Err(failure))),
            };
            let pieces = stretch.into_iter().flat_map(Stretch::pieces);
            pieces.map(Ok).chain(failure)
        });
        let mut piece = pieces.next().transpose()?;
        while let Some(now) = piece {
            piece = pieces.next().transpose()?;
            play(&now, piece.as_ref())?;
        }
        Ok(())
    })
}
